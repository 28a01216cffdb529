from .archive import (
    archive as archive,
    archive_all as archive_all,
    comparison_csv as comparison_csv,
    probabilities_csv as probabilities_csv,
)
from .changes import changed as changed
from .classes import (
    class_names as class_names,
    find_class as find_class,
    synsets as synsets,
    truth_from_name as truth_from_name,
)
from .compare import (
    agreement as agreement,
    mean_alike as mean_alike,
    same_classes as same_classes,
)
from .explanations import explanations as explanations
from .jobs import (
    AT_ONCE as AT_ONCE,
    PRECISIONS as PRECISIONS,
    WAYS as WAYS,
    Answer as Answer,
    Encoded as Encoded,
    Engine as Engine,
    EngineError as EngineError,
    Evaluation as Evaluation,
    Event as Event,
    Guess as Guess,
    Job as Job,
    Look as Look,
    Looks as Looks,
    Map as Map,
    Measured as Measured,
    Photo as Photo,
    Place as Place,
    Request as Request,
    Seen as Seen,
    Setting as Setting,
    Step as Step,
    Timing as Timing,
    Waiting as Waiting,
    answer as answer,
)
from .local import LocalEngine as LocalEngine
from .look import options as options
from .search import (
    RANDOM as RANDOM,
    find_models as find_models,
    has_classes as has_classes,
    is_local as is_local,
    like as like,
    offered as offered,
    on_this_machine as on_this_machine,
    price as price,
    recipe as recipe,
)
