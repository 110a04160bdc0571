"""Component: check the dataset before training on it."""

from kfp.dsl import HTML, Dataset, Input, Output

from components import component


@component
def validate(dataset: Input[Dataset], settings: dict, report: Output[HTML]) -> list:
    """Check the dataset: a critical failure ends the run, warnings are returned."""
    import sys
    from pathlib import Path

    from components.artifacts import checked
    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.data.versions import reference
    from streetseg.data_quality.validation import validate as validate_data
    from streetseg.evaluation.gate import check_categories

    params = Params.model_validate(settings)
    with exit_on_error(), reference(params) as expected:
        prepared = PreparedDataset(checked(dataset))
        check_categories(params.gate, prepared.labels)  # before anything is trained
        result = validate_data(prepared, params.validation, Path(report.path), expected)
        if prepared.skip_summary:
            print(f"warning: {prepared.skip_summary}", file=sys.stderr)
        for warning in result.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        result.require()
    return result.warnings
