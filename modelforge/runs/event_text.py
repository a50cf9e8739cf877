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


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """ "loss 1.2345, perplexity 3.44", of the metrics that are present."""
    return ", ".join(form.format(metrics[name]) for name, form in MEASURED.items() if name in metrics)


def describe_event(event: dict[str, Any]) -> str:  # noqa: PLR0911 - one return for each type of event
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
        case "sampled":
            return f"  prompt:   {event['prompt']}\n  answer:   {event['answer']}\n  expected: {event['expected']}"
        case "checkpoint":
            return f"saved after step {event['step']}"
        case "paused":
            return f"paused after {event['step']} steps; it can be resumed"
        case "warning":
            return f"warning: {event['message']}"
        case "finished":
            return f"finished: model {event['model_id']}"
        case "failed":
            return " ".join(part for part in ("failed:", event["where"], event["what"], event["fix"]) if part)
        case "stopped":
            return f"stopped after {event['step']} steps" + (
                f": model {event['model_id']}" if event["model_id"] else ""
            )
    return ""
