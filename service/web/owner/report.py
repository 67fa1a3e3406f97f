"""A tenant's daily figures: questions and their outcomes, ratings, tokens, cost, and answers that need attention."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.settings import Settings
from service.store import owner, usage
from service.store.records import UsageTotal
from service.web.owner.guard import owner_api
from service.web.owner.tenants import tenant_of
from service.web.requests import json_response, service_of

PERIODS = (7, 30, 90)
NEWEST_TROUBLES = 20
MILLION = 1_000_000


class Figures(BaseModel):
    """The figures of one or several days. `outcomes` count the accepted questions by status or code."""

    questions: int = 0
    refused: int = 0
    outcomes: dict[str, int] = {}
    up: int = 0
    down: int = 0
    handed_off: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Day(Figures):
    """One day, in UTC."""

    date: date


class TroubleFacts(BaseModel):
    """A turn that needs attention, with the beginnings of its texts."""

    conversation_id: str
    message_id: str
    at: datetime
    question: str
    answer: str
    outcome: str
    rating: str | None
    comment: str | None


class Report(BaseModel):
    """The days up to today, their total and the previous period's; `cost` is null without prices."""

    days: list[Day]
    total: Figures
    before: Figures
    troubles: list[TroubleFacts]


@owner_api
async def report(request: Request) -> Response:
    """The last 7, 30 or 90 days."""
    tenant, _ = await tenant_of(request)
    wanted = request.query_params.get("days", "7")
    if wanted not in map(str, PERIODS):
        raise errors.ValidationFailed([("days", f"must be one of {', '.join(map(str, PERIODS))}")])
    days, store = int(wanted), service_of(request).store
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    earlier = since - timedelta(days=days)
    used = await store.read(lambda db: usage.totals(db, tenant.name, earlier, ("day", "outcome")))
    ratings = await store.read(lambda db: owner.ratings_by_day(db, tenant.id, earlier))
    handoffs = await store.read(lambda db: owner.handoffs_by_day(db, tenant.id, earlier))
    found = await store.read(lambda db: owner.troubles(db, tenant.id, since, NEWEST_TROUBLES))
    dates = [(earlier + timedelta(days=number)).date() for number in range(2 * days)]
    prices = _Prices(service_of(request).settings)
    all_days = [_day(at, used, ratings, handoffs.get(at, 0), prices) for at in dates]
    return json_response(
        Report(
            days=all_days[days:],
            total=_sum(all_days[days:], prices),
            before=_sum(all_days[:days], prices),
            troubles=[_facts(each) for each in found],
        )
    )


class _Prices:
    """The prices of a million tokens, from PRICE_PROMPT and PRICE_COMPLETION."""

    def __init__(self, settings: Settings) -> None:
        self._prompt, self._completion = settings.price_prompt, settings.price_completion

    def cost(self, figures: Figures) -> float | None:
        if self._prompt is None and self._completion is None:
            return None
        tokens = figures.prompt_tokens * (self._prompt or 0) + figures.completion_tokens * (self._completion or 0)
        return round(tokens / MILLION, 6)


def _day(
    at: date, used: list[UsageTotal], ratings: dict[tuple[date, str], int], handed_off: int, prices: _Prices
) -> Day:
    day = Day(date=at, up=ratings.get((at, "up"), 0), down=ratings.get((at, "down"), 0), handed_off=handed_off)
    for total in used:
        if total.group[0] != at:
            continue
        accepted = total.requests - total.refused
        day.refused += total.refused
        day.questions += accepted
        if accepted:
            day.outcomes[str(total.group[1])] = accepted
        day.prompt_tokens += total.prompt_tokens
        day.completion_tokens += total.completion_tokens
    day.cost = prices.cost(day)
    return day


def _sum(days: list[Day], prices: _Prices) -> Figures:
    outcomes: Counter[str] = Counter()
    for day in days:
        outcomes.update(day.outcomes)
    names = ("questions", "refused", "up", "down", "handed_off", "prompt_tokens", "completion_tokens")
    sums: dict[str, Any] = {name: sum(getattr(day, name) for day in days) for name in names}
    figures = Figures(outcomes=dict(outcomes), **sums)
    figures.cost = prices.cost(figures)
    return figures


def _facts(trouble: owner.Trouble) -> TroubleFacts:
    return TroubleFacts(
        conversation_id=str(trouble.conversation_id),
        message_id=str(trouble.message_id),
        at=trouble.at,
        question=trouble.question,
        answer=trouble.answer,
        outcome=trouble.code or trouble.status,
        rating=trouble.rating,
        comment=trouble.comment,
    )
