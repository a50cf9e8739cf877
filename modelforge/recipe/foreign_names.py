"""Names from TRL, transformers, PEFT, LLaMA-Factory, axolotl and Unsloth, and what to write here instead.

A name that means exactly the same as a setting is accepted; for any other, the error says what to write. The names are
data: assets/foreign_names.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge import paths
from modelforge.errors import RecipeError


def _by_name(names_by_text: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: text for text, names in names_by_text.items() for name in names}


_listed = paths.read_asset("foreign_names.yaml")

SAME: dict[str, str] = _by_name(_listed["same"])
"""Name -> the setting with exactly this meaning."""
SAME_VALUES: dict[str, dict[str, dict[str, list[str]]]] = _listed["same_values"]
"""Name -> value -> {setting: its values that agree with this one, the usual one first}."""
NO_EFFECT: dict[str, list[str]] = _listed["no_effect"]
"""Name -> values that describe what is done here in any case."""
INSTEAD: dict[str, str] = _by_name(_listed["instead"])
"""Name -> what to write instead; also for other values of the names in `SAME_VALUES` and `NO_EFFECT`."""
INSTEAD_OF_VALUES = {setting: _by_name(values) for setting, values in _listed["instead_of_values"].items()}
"""Setting -> a value from other programs -> what to write instead."""


def find_instead(name: str) -> str:
    """What to write instead of a name, also a nested one such as ``tuning.lora_r``; "" if it is not listed."""
    last = name.rpartition(".")[2]
    return f"Write {SAME[last]}." if last in SAME else INSTEAD.get(last, "")


def translate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the names of this recipe; translated ones have full names such as ``tuning.r``.

    Raises RecipeError for a name without an equivalent, and for names that contradict each other.
    """
    own = {name: value for name, value in settings.items() if name not in SAME and name not in INSTEAD}
    chosen: dict[str, list[Any]] = {}  # setting -> the values that agree with all names so far
    for name, value in settings.items():
        if name in own or _text(value) in NO_EFFECT.get(name, ()):
            continue
        setting, allowed = _read(name, value)
        given = _find(own, setting)
        before = given if given is not None else chosen.get(setting, allowed)
        chosen[setting] = [each for each in before if each in allowed]
        if not chosen[setting]:
            raise RecipeError(
                f"{name}: {_text(value)} contradicts another value given for {setting}.",
                where="recipe",
                fix=f"Write {setting} only.",
            )
    return {**own, **{setting: values[0] for setting, values in chosen.items()}}


def _read(name: str, value: Any) -> tuple[str, list[Any]]:
    """(the setting that a name means, the values of it that agree with the given one)."""
    if name in SAME:
        return SAME[name], [value]
    for setting, values in SAME_VALUES.get(name, {}).get(_text(value), {}).items():
        return setting, values
    raise RecipeError(f"There is no setting {name!r} here.", where="recipe", fix=INSTEAD[name])


def _find(settings: Mapping[str, Any], name: str) -> list[Any] | None:
    """The value of a setting by its full name, alone in a list; None where it is not given."""
    value: Any = settings
    if name in settings:
        return [settings[name]]
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return [value]


def _text(value: Any) -> str:
    return str(value).lower()
