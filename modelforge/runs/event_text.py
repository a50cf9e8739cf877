"""Events as text: the same lines on the terminal and in the app's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURED = {
    "loss": "loss {:.4f}",
    "perplexity": "perplexity {:.2f}",
    "rougeL": "ROUGE-L {:.3f}",
    "exact_match": "exact match {:.1%}",
    "f1": "F1 {:.1%}",
    "preference_accuracy": "better answer preferred {:.1%}",
    "reward_margin": "reward margin {:.3f}",
    "mean_reward": "mean reward {:.3f}",
}
"""The format of each metric of the held-out rows."""

_SENTENCES = {
    "sampled": "  prompt:   {prompt}\n  answer:   {answer}\n  expected: {expected}",
    "checkpoint": "saved after step {step}",
    "paused": "paused after {step} steps; it can be resumed",
    "stored": "{stored}",
    "warning": "warning: {message}",
    "finished": "finished: model {model_id}{verdict}",
}
"""Type of event -> its line, where that has no conditions."""


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """ "loss 1.2345, perplexity 3.44", of the metrics that are present."""
    return ", ".join(form.format(metrics[name]) for name, form in MEASURED.items() if name in metrics)


def describe_verdict(verdict: Mapping[str, Any] | None) -> str:
    """A line below: "better: ROUGE-L rose by 0.120 ...", from a run's metrics; "" where it has none."""
    if not verdict:
        return ""
    return "\n" + " ".join([f"{verdict['word'] or 'no verdict'}:", verdict["why"], *verdict["notes"]])


def describe_stored(event: Mapping[str, Any]) -> str:
    """What was kept of the layers that are not trained."""
    how = "read from the disk" if event["reused"] else f"computed once in {event['seconds']:.0f} s"
    return f"output of the {event['layers']} frozen layers: {how}, {event['bytes'] / 1e6:,.0f} MB"


def describe_event(event: dict[str, Any]) -> str:
    """ "" for an event that only programs read."""
    match event["type"]:
        case "started":
            reasons = "; ".join(event["reasons"])
            again = f"resumed after step {event['step']}. " if event.get("step") else ""
            return f"{again}{event['train_rows']} examples to train on, {event['eval_rows']} held out. {reasons}"
        case "progress":
            loss = "not a number" if event["loss"] is None else f"{event['loss']:.4f}"
            reward = f"reward {event['reward']:.3f}  " if "reward" in event else ""
            return (
                f"step {event['step']}/{event['total_steps']}  loss {loss}  {reward}"
                f"{event['tokens_per_second']:.0f} tokens/s  {event['eta_seconds']:.0f} s left"
            )
        case "evaluated":
            return "held out: " + describe_metrics(event)
        case "failed":
            return " ".join(part for part in ("failed:", event["where"], event["what"], event["fix"]) if part)
        case "stopped":
            model = f": model {event['model_id']}" if event["model_id"] else ""
            return f"stopped after {event['step']} steps{model}"
    verdict = describe_verdict((event.get("metrics") or {}).get("verdict"))
    stored = describe_stored(event) if event["type"] == "stored" else ""
    return _SENTENCES.get(event["type"], "").format(**{**event, "verdict": verdict, "stored": stored})
