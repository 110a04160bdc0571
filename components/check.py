"""Component: look at what a training needs, from inside a pod."""

from kfp.dsl import Markdown, Output

from components import component


@component
def check(
    data_version: str, recipe: str, overrides: str, gpus: str, report: Output[Markdown]
) -> None:
    """Try MLflow, the data's remote, git, GPUs, memory and clock; fail if something is missing."""
    from pathlib import Path

    from components.environment.finding import require, to_markdown, to_text
    from components.environment.probes import run_probes
    from streetseg.config.form import read_form
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error

    with exit_on_error():
        wanted = read_form(train_gpus=gpus).train_gpus
        findings = run_probes(data_version, load_recipe(recipe, overrides), wanted)
        print(to_text(findings))
        Path(report.path).write_text(to_markdown(findings))
        require(findings)
