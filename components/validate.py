"""Component: check the dataset before training on it."""

from kfp.dsl import HTML, Output

from components import component


@component
def validate(data_version: str, settings: dict, report: Output[HTML]) -> list:
    """Check a data version: a critical failure ends the run, warnings are returned.

    It is fetched from the DVC remote, so that it is checked while the step ``fetch`` brings it.
    """
    import sys
    import tempfile
    from pathlib import Path

    from streetseg.config.params import read_settings
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.data.versions import fetch, reference
    from streetseg.data_quality.validation import validate as validate_data
    from streetseg.evaluation.gate import check_categories

    with (
        exit_on_error(),
        reference(params := read_settings(settings)) as expected,
        tempfile.TemporaryDirectory() as scratch,
    ):
        folder = Path(scratch) / "prepared"
        prepared = PreparedDataset(fetch(data_version, params.data.remote, folder))
        check_categories(params.gate, prepared.labels)  # before anything is trained
        result = validate_data(prepared, params.validation, Path(report.path), expected)
        if prepared.skip_summary:
            print(f"warning: {prepared.skip_summary}", file=sys.stderr)
        for warning in result.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        result.require()
    return result.warnings
