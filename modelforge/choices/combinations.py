"""Which task, method, tuning, architecture and device go together. Menus offer it; anything else is refused."""

from __future__ import annotations

from modelforge.architecture import ARCHITECTURES, Architecture, add_article
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind
from modelforge.recipe import Recipe, Task
from modelforge.tasks import SHAPES, TASKS


def check_combination(
    recipe: Recipe,
    *,
    shape: str | None = None,
    architecture: Architecture | None = None,
    device: DeviceKind | None = None,
) -> None:
    """Refuse what cannot be trained, with the reason and the nearest alternative. What is None is not checked.

    shape: of the dataset's rows. device: the kind of device that trains. Raises RecipeError.
    """
    check_method(recipe.task, recipe.method, shape)
    check_metric(recipe)
    if architecture is not None:
        check_architecture(recipe.task, recipe.method, architecture)
    if device is not None:
        check_tuning(recipe.tuning.type, device)
    for name in ("use_dora", "use_rslora"):
        if recipe.tuning.type == "full" and getattr(recipe.tuning, name):
            raise RecipeError(
                f"{name} is an option of adapters, and full fine-tuning has no adapter.",
                where=f"setting tuning.{name}",
                fix="Set it to false, or set tuning.type to lora.",
            )


def check_method(task: Task, method: str, shape: str | None = None) -> None:
    """Refuse a method that cannot train the task, or the shape of the dataset's rows."""
    able = SHAPES[shape].methods if shape else TASKS[task].methods
    if method in able:
        return
    trained = [f"{known} for {other.title.lower()}" for other in SHAPES.values() for known in other.methods]
    what = SHAPES[shape].title.lower() if shape else task.value
    nearest = f"Use {able[0]}. " if able else ""
    instead = f"{SHAPES[shape].instead[method]} " if shape and method in SHAPES[shape].instead else ""
    fix = f"{nearest}{instead}Possible are: {', '.join(trained)}."
    raise RecipeError(f"{method} cannot train {what}.", where="setting method", fix=fix)


def check_architecture(task: Task, method: str, architecture: Architecture) -> None:
    """Refuse an architecture that the method cannot train for the task."""
    able = architectures_of(task, method)
    if architecture.name in able:
        return
    nearest = " or ".join(f"{add_article(name)} such as {ARCHITECTURES[name].example}" for name in able)
    raise RecipeError(
        f"{method} for {task.value} cannot train {add_article(architecture.name)}, which {architecture.sentence}.",
        where="setting base_model",
        fix=f"Choose {nearest}.",
    )


def check_tuning(tuning: str, device: DeviceKind) -> None:
    """Refuse a tuning that the device does not support."""
    spec = TUNINGS[tuning]
    if device not in spec.devices:
        raise RecipeError(
            f"{spec.title} is not supported on this device: {spec.reason}.",
            where="setting tuning.type",
            fix=f"Use {spec.instead}.",
        )


def architectures_of(task: Task, method: str) -> tuple[str, ...]:
    """The architectures that a method can train for a task, the default first."""
    return tuple(name for name in TASKS[task].architectures if name in METHODS[method].files)


def metrics_of(task: Task, method: str, shape: str = "") -> tuple[str, ...]:
    """What a model is measured with, on rows of that shape; a verdict rests on the first one that can be measured."""
    return METHODS[method].metrics or (SHAPES[shape].metrics if shape else ()) or TASKS[task].metrics


def check_metric(recipe: Recipe) -> None:
    """Refuse a `verdict_metric` that the recipe's method and task are not measured with."""
    able = metrics_of(recipe.task, recipe.method)
    if recipe.verdict_metric not in ("auto", *able):
        raise RecipeError(
            f"{recipe.verdict_metric} is not measured for {recipe.method} and {recipe.task.value}.",
            where="setting verdict_metric",
            fix=f"Possible are: {', '.join(('auto', *able))}.",
        )
