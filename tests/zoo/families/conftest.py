"""The order of the contract: all that is asked of one variant together, so that it is built once."""

from tests.zoo.families import test_contract


def pytest_collection_modifyitems(items):
    here = [i for i, item in enumerate(items) if item.module is test_contract]
    asked = sorted((items[i] for i in here), key=lambda item: test_contract.NAMES.index(item.callspec.params["name"]))
    for i, item in zip(here, asked, strict=True):
        items[i] = item
