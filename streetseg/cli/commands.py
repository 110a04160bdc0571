"""The commands by name, so that the module of a command is imported only when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup

SECTIONS = {
    "Settings": {
        "params": ("options", "Print the settings in effect, with the meaning and unit of each."),
    },
    "Data": {
        "synth": ("data", "Draw synthetic street scenes, to try streetseg without a dataset."),
        "init": ("data", "Draft source.yaml and labels.yaml for a folder of images and labels."),
        "explore": ("data", "Write a page about the data: counts, classes, samples, bad frames."),
        "prepare": ("data", "Remap labels, resize, and write the arrays that training reads."),
        "adopt": ("data", "Write a data version that another machine made to dvc.lock."),
        "validate": ("data", "Check the prepared data before training."),
    },
    "Training": {
        "train": ("training", "Train a network on the prepared data, as an MLflow run."),
        "tune": ("training", "Search for better training settings, and keep the best model."),
        "evaluate": ("training", "Score a model, or a folder of masks, against ground truth."),
        "cross-evaluate": ("training", "Score a model on several sources and their conditions."),
        "compare": ("training", "Put training runs side by side: scores and settings."),
        "gate": ("models", "Decide whether an evaluated model may be registered, and say why."),
        "register": ("models", "Register a model that passes the gate as the challenger."),
    },
    "Prediction": {
        "predict": ("models", "Segment images and folders, into one folder to look at."),
        "batch": ("models", "Segment all images below a folder or a bucket's prefix."),
        "ask": ("models", "Send all images below a folder to a running service."),
        "video": ("media", "Segment a video, and write it with the categories in colour."),
        "attention": ("media", "Draw what a SegFormer attends to for one pixel."),
        "export": ("export", "Write a model for another runtime, such as OpenVINO or TensorRT."),
    },
    "Registry": {
        "promote": ("registry", "Make a version the champion, the one that services use."),
        "rollback": ("registry", "Make the previous champion the champion again."),
        "list": ("registry", "List the registered versions, newest first."),
        "history": ("registry", "Show every change of the champion: when, who, and why."),
        "diff": ("registry", "Compare two versions: data, code, scores and settings."),
        "trace": ("registry", "Trace a model to its training data, or data to its models."),
        "pull": ("registry", "Copy the files of a model that a service needs into a folder."),
    },
    "Labelling": {
        "select": ("select", "Choose the frames that a model would learn most from."),
        "labels": ("labels", "Take labels to an annotation tool, and corrected ones back."),
        "webhook": ("loop", "Run a command whenever a labelling tool posts a webhook."),
        "loop": ("loop", "Write one page of the loop from served images to promoted models."),
    },
}
"""Per section of the help and command: its module in this package, and what it does."""

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(TyperGroup):
    """All commands, of which those of modules not imported yet are only names."""

    def __init__(self, **attributes: Any) -> None:
        """As typer makes it, with the commands that are imported."""
        super().__init__(**attributes)
        names = {name: TyperCommand(name=name, help=text) for name, (_, text) in COMMANDS.items()}
        self.commands = names | dict(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments name, complete with its options."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands in its sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


def load(name: str) -> Any:
    """Import a command's module, which adds the command to the app.

    Raises:
        KeyError: there is no such command.
    """
    from typer.main import get_group

    module = import_module(f"streetseg.cli.{COMMANDS[name][0]}")
    return get_group(module.app).commands[name]
