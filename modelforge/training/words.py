"""An event as a line for people: the same on the terminal and in the app's log."""

from __future__ import annotations

from typing import Any


def describe(event: dict[str, Any]) -> str:  # noqa: PLR0911 - one return for each type of event
    """ "" for an event that only programs want."""
    match event["type"]:
        case "started":
            reasons = "; ".join(event["reasons"])
            return f"{event['train_rows']} examples to train on, {event['eval_rows']} held out. {reasons}"
        case "progress":
            loss = "not a number" if event["loss"] is None else f"{event['loss']:.4f}"
            return (
                f"step {event['step']}/{event['total_steps']}  loss {loss}  "
                f"{event['tokens_per_second']:.0f} tokens/s  {event['eta_seconds']:.0f} s left"
            )
        case "evaluated":
            return f"held-out loss {event['eval_loss']:.4f}, perplexity {event['perplexity']:.2f}"
        case "sampled":
            return f"  asked:    {event['prompt']}\n  answered: {event['answer']}\n  expected: {event['expected']}"
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
