"""What a guard says, in words that a product manager reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flaggate.flags.model import Guard
from flaggate.flags.place import show
from flaggate.flags.words import span_words, value_words
from flaggate.rollout.evidence import sure
from flaggate.rollout.verdict import Answer, Verdict

__all__ = [
    "UNCLEAR",
    "allowed_words",
    "breach_words",
    "doubt_words",
    "evidence_words",
    "reason_words",
    "sure_words",
    "verdict_words",
    "written_words",
]

_FAILED: Final = {"errors": "failed", "slow": "were slow"}
_HINT, _SURE = 3.0, 10.0
UNCLEAR: Final = "not clearly more users are hit with the feature than without: an outage, or too few to tell"
"""Why nobody is blamed where a limit is broken. That control is hit as often would be more than is known."""


def evidence_words(evidence: float) -> str:
    """no sign of trouble; a hint, watching; 97 % sure that it is worse than you allow."""
    if evidence < _HINT:
        return "no sign of trouble"
    return "a hint, watching" if evidence < _SURE else f"{sure_words(evidence)} sure that it is worse than you allow"


def sure_words(evidence: float) -> str:
    """97 %; never all."""
    fraction = sure(evidence)
    if fraction < 0.99:
        return f"{100 * fraction:.0f} %"
    return f"{100 * fraction:.1f} %" if fraction < 0.9995 else "more than 99.9 %"


def doubt_words(guard: Guard, evidence: float) -> str:
    """errors: 97 % sure that it is worse than you allow."""
    return f"{guard.metric}: {evidence_words(evidence)}"


def verdict_words(verdict: Verdict, unit: str) -> str:
    """The whole of it: errors: 41 of 1,930 requests with the feature failed (2.1 %), ...

    Args:
        unit: The flag's, for who was hit.
    """
    guard, numbers = verdict.guard, verdict.numbers
    if guard.query is not None:
        said = _queried(guard, verdict.answer, numbers)
    elif "evidence" not in numbers:
        said = _plain(verdict.answer, numbers)
    else:
        said = _judged(verdict, unit)
    return f"{guard.metric}: {said}"


def reason_words(verdict: Verdict) -> str:
    """The short of it: errors: 41 of 1,930 requests with the feature failed (2.1 %), 6 of 1,871 without (0.3 %)."""
    guard, numbers, why = verdict.guard, verdict.numbers, verdict.numbers.get("why")
    if guard.query is not None:
        return f"{guard.metric}: {_queried(guard, verdict.answer, numbers)}"
    if "evidence" not in numbers or verdict.answer is not Answer.BREACH:
        return f"{guard.metric}: {verdict.answer.replace('_', ' ')}"
    return f"{guard.metric}: {_seen(guard, numbers)}{f' ({why})' if why else ''}"


def written_words(written: object) -> str | None:
    """Of a verdict as events have it; None for what is none. One of another version has no words of its own."""
    if not isinstance(written, dict) or "metric" not in written:
        return None
    words = written.get("words")
    if isinstance(words, str):
        return words
    numbers = written.get("numbers")
    return f"{written['metric']}: {_plain(str(written.get('answer')), numbers if isinstance(numbers, dict) else {})}"


def breach_words(breach: Mapping[str, Any]) -> Iterator[str]:
    """Why it was rolled back, with its numbers, as it was latched."""
    guards = breach.get("guards")
    for guard in guards if isinstance(guards, list) else [breach]:
        yield written_words(guard) or show(guard)


def _plain(answer: str, numbers: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in numbers.items())
    return answer.replace("_", " ") + (f" ({shown})" if shown else "")


def _judged(verdict: Verdict, unit: str) -> str:
    numbers, answer = verdict.numbers, verdict.answer
    if answer is Answer.NO_DATA:
        return "nobody reports with the feature: nothing is known of it"
    if answer is Answer.ERROR:
        return f"it cannot be judged: {numbers.get('why', 'unknown')}"
    seen = _seen(verdict.guard, numbers)
    if answer is Answer.SHARED:
        return f"{seen}. Over your limit, but {UNCLEAR}"
    if answer is not Answer.BREACH:
        return f"{seen}. {_first_up(_state(answer, numbers))}"
    why = numbers.get("why")
    if why == "vanished":
        return f"{seen}. Then no request with the feature came to its end while others did: it crashes or hangs"
    if why == "shared":
        return f"{seen}. {_first_up(UNCLEAR)}. It did not end, and your plan rolls back then (on_shared)"
    allowed = allowed_words(verdict.guard)
    if verdict.guard.key != "slower":  # of those it is known only who was slower than most
        seen = f"{seen}; {_hit(numbers, unit)}"
    return (
        f"{seen}. We are {sure_words(numbers['evidence'])} sure that this is worse than you "
        f"allow ({allowed}). A healthy feature triggers this in fewer than 1 of 100 stages, however long we watch"
    )


def _state(answer: Answer, numbers: Mapping[str, Any]) -> str:
    words = evidence_words(numbers["evidence"])
    if answer is Answer.SAFE:
        return "safe: shown to be within your limit"
    if answer is Answer.TOO_FEW:
        return f"not enough traffic to tell; {words}"
    return words


def _first_up(words: str) -> str:
    return words[:1].upper() + words[1:]


def _seen(guard: Guard, numbers: Mapping[str, Any]) -> str:
    """41 of 1,930 requests with the feature failed (2.1 %), 6 of 1,871 without (0.3 %)."""
    what = _FAILED.get(guard.metric, f"had {guard.metric}")
    if guard.at_least is not None:
        what = f"had no {guard.metric}"
    elif guard.metric == "slow" and guard.vs_control is not None:
        what = "were slower than control's 95 % point allows"
    with_it = f"{numbers['bad']:,} of {numbers['requests']:,} requests with the feature {what}{_rate(numbers['rate'])}"
    if not numbers["control_requests"]:
        return with_it
    control = f"{numbers['control_bad']:,} of {numbers['control_requests']:,} without{_rate(numbers['control_rate'])}"
    return f"{with_it}, {control}"


def _rate(fraction: float | None) -> str:
    return "" if fraction is None else f" ({100 * fraction:.2g} %)" if fraction < 0.995 else " (100 %)"


def _hit(numbers: Mapping[str, Any], unit: str) -> str:
    """35 users were hit, 30 of them with the feature."""
    with_it, without = numbers["units"], numbers["control_units"]
    every = with_it + without
    were = f"{every:,} {unit}{'' if every == 1 else 's'} {'was' if every == 1 else 'were'} hit"
    return f"{were}, {with_it:,} of them with the feature" if without else were


def allowed_words(guard: Guard) -> str:
    """at most 1 %; at most 1.25 times the control's; at least 5 %."""
    if guard.vs_control is not None:
        return f"at most {float(guard.vs_control):g} times the control's"
    which, limit = ("at most", guard.limit) if guard.at_least is None else ("at least", guard.at_least)
    allowed = float(limit or 0)
    return f"{which} {_number(allowed)}" if guard.query is not None else f"{which} {100 * allowed:.4g} %"


def _queried(guard: Guard, answer: Answer, numbers: Mapping[str, Any]) -> str:
    value = numbers.get("value")
    if value is None or answer in {Answer.NO_DATA, Answer.ERROR}:
        return f"{answer.replace('_', ' ')}: {numbers.get('why') or 'nothing was answered'}"
    lasted = f", for {span_words(guard.for_seconds)} by now" if guard.for_seconds and answer is Answer.BREACH else ""
    return f"{_number(value)}, where {allowed_words(guard)} is allowed{lasted}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_words(value)
