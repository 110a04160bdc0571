"""Component: begin a search for better settings."""

from components import component


@component
def plan_search(settings: dict, data_version: str, study: str, run: str, workers: int) -> list:
    """Create the study in the database of OPTUNA_STORAGE, or check that it can go on.

    Returns its name, which is ``study`` or else ``run``, once for each worker.
    """
    from streetseg.config.params import read_settings
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.tuning.shared import begin_search

    name = study or run
    with exit_on_error():
        if workers < 1:
            raise StreetsegError(f"workers={workers}: at least 1 is needed")
        begin_search(read_settings(settings), data_version, name)
    return [name] * workers
