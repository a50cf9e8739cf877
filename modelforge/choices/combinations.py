"""Which task, method, tuning, architecture and device go together: walks the declarations of each, and knows nothing
else. Menus offer what is allowed here, and a start is refused for what is not."""

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
    """Refuse what cannot be trained, with the reason and the nearest thing that can; as far as it is known already.

    shape: the form of the dataset's rows. device: the kind that trains. Raises RecipeError.
    """
    check_method(recipe.task, recipe.method, shape)
    if architecture is not None:
        check_architecture(recipe.task, recipe.method, architecture)
    if device is not None:
        check_tuning(recipe.tuning.type, device)
    if recipe.tuning.type == "full":
        _refuse_adapter_settings(recipe)


def check_method(task: Task, method: str, shape: str | None = None) -> None:
    """Refuse a method that cannot train the task, or the dataset's rows where their shape is known."""
    able = SHAPES[shape].methods if shape else methods_of(task)
    if method in able:
        return
    trained = [f"{known} for {other.title.lower()}" for other in SHAPES.values() for known in other.methods]
    what = SHAPES[shape].title.lower() if shape else task.value
    nearest = f"Use {able[0]}. " if able else ""
    raise RecipeError(
        f"{method} cannot train {what}.", where="setting method", fix=f"{nearest}Possible are: {', '.join(trained)}."
    )


def check_architecture(task: Task, method: str, architecture: Architecture) -> None:
    """Refuse a kind of model that the method does not train for the task."""
    able = architectures_of(task, method)
    if architecture.name in able:
        return
    nearest = " or ".join(f"{add_article(name)} such as {ARCHITECTURES[name].example}" for name in able)
    raise RecipeError(
        f"{method} for {task.value} does not train {add_article(architecture.name)}, which {architecture.sentence}.",
        where="setting base_model",
        fix=f"Choose {nearest}.",
    )


def check_tuning(tuning: str, device: DeviceKind) -> None:
    """Refuse a tuning that the device cannot do."""
    spec = TUNINGS[tuning]
    if device not in spec.devices:
        raise RecipeError(
            f"{spec.title} cannot be done here: {spec.reason}.",
            where="setting tuning.type",
            fix=f"Use {spec.instead}.",
        )


def methods_of(task: Task) -> tuple[str, ...]:
    """The methods that can train a task, the usual one first."""
    return TASKS[task].methods


def architectures_of(task: Task, method: str) -> tuple[str, ...]:
    """The kinds of models that a method can train for a task, the usual one first."""
    return tuple(name for name in TASKS[task].architectures if name in METHODS[method].files)


def tunings_of(device: DeviceKind) -> tuple[str, ...]:
    """The tunings that a device can do, the usual one first."""
    return tuple(name for name, spec in TUNINGS.items() if device in spec.devices)


def _refuse_adapter_settings(recipe: Recipe) -> None:
    for name in ("use_dora", "use_rslora"):
        if getattr(recipe.tuning, name):
            raise RecipeError(
                f"{name} is a way of adding an adapter, and full fine-tuning adds none.",
                where=f"setting tuning.{name}",
                fix="Switch it off, or set tuning.type to lora.",
            )
