"""One file a paper. Nobody lists them: the registry imports the folder."""
