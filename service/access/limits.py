"""The limits of a key, a visitor and a tenant, and the headers that report them.

The order matters: a visitor's own limit is checked first, so that a refused visitor uses up nothing of the key's.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import NamedTuple

from service.access.visitors import visitor_id
from service.errors import BudgetExhausted, BudgetReserved, RateLimited, TooManyAnswers, VisitorRateLimited
from service.settings import Settings
from service.store.records import (
    DAY_SECONDS,
    Access,
    BudgetSpent,
    Quota,
    QuotaSpent,
    QuotaState,
    Refusal,
    Tenant,
    TooManyStreams,
    TurnLimits,
)
from service.tokens import estimate_tokens

WINDOW_SECONDS = 60
READS_PER_QUESTION = 5  # calls that don't ask the model, per question that a visitor may ask in a window
LEAST_READS = 60
MOST_READERS = 20  # of one answer at a time, per process
CHARACTERS_PER_TOKEN = 3  # of an answer whose only limit is MAX_ANSWER_CHARS


class Policy(NamedTuple):
    """One limit, with its name, quota and parameters as in draft-ietf-httpapi-ratelimit-headers-10."""

    name: str
    quota: int
    window: int | None = None
    unit: str = "requests"
    left: int | None = None
    seconds: int | None = None


class Limits:
    """The limits of one question: the quotas it takes, and the errors and headers for the store's refusals."""

    def __init__(self, access: Access, address: str) -> None:
        self.visitor = visitor_id(access.tenant, address)
        self._tenant = access.tenant
        tenant = access.tenant
        scopes = {
            "visitor": Quota(f"visitor:{tenant.id}:{self.visitor}", tenant.visitor_rate_per_minute, WINDOW_SECONDS),
            "key": Quota(f"key:{access.key.id}", tenant.rate_per_minute, WINDOW_SECONDS),
        }
        limited = {name: quota for name, quota in scopes.items() if quota.limit}
        self.quotas = list(limited.values())
        self._policies = [Policy(name, quota.limit, WINDOW_SECONDS) for name, quota in limited.items()]

    def note(self, states: Sequence[QuotaState]) -> None:
        """Remember what was taken of the quotas, for the headers."""
        for index, (policy, state) in enumerate(zip(self._policies, states, strict=False)):
            self._policies[index] = policy._replace(left=state.left, seconds=ceil(state.seconds))

    def turn_limits(self, settings: Settings, prompt: Sequence[Mapping[str, str]]) -> TurnLimits:
        """The limits of the answer to these messages; reserves their estimate and the longest answer."""
        tenant = self._tenant
        longest = answer_cap(settings, tenant.max_answer_tokens) or settings.max_answer_chars // CHARACTERS_PER_TOKEN
        return TurnLimits(
            visitor=self.visitor,
            streams=tenant.visitor_streams,
            history_turns=settings.max_history_turns,
            history_chars=settings.max_history_chars,
            tokens=estimate_tokens(message["content"] for message in prompt) + longest,
            answer_tokens=longest,
            tokens_per_day=tenant.tokens_per_day,
        )

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Turn the store's refusals into errors: RateLimited, TooManyAnswers, BudgetExhausted, or a subclass."""
        try:
            yield
        except Refusal as refusal:
            self.note(refusal.quota_states)
            raise self._error(refusal) from None

    def _error(self, refusal: Refusal) -> Exception:
        match refusal:
            case QuotaSpent():
                refused = self._policies[len(refusal.quota_states) - 1]
                error = VisitorRateLimited if refused.name == "visitor" else RateLimited
                return error(f"the {refused.name}'s rate limit", retry_after=refused.seconds)
            case TooManyStreams():
                streams = self._tenant.visitor_streams
                self._policies.append(Policy("streams", streams, unit="concurrent-requests", left=0))
                return TooManyAnswers("the visitor's answers at a time", retry_after=1)
            case BudgetSpent():
                spent, seconds = (BudgetReserved, 1) if refusal.pending else (BudgetExhausted, ceil(refusal.seconds))
                budget = Policy("day", self._tenant.tokens_per_day, DAY_SECONDS, "tokens", left=0, seconds=seconds)
                self._policies.append(budget)
                return spent("the tenant's tokens of the day", retry_after=seconds)
        return refusal

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`; empty without limits.

        The rest of the day's budget is private to the tenant, so the budget appears only when it is exhausted.
        """
        headers = {
            "RateLimit-Policy": [_policy(each) for each in self._policies],
            "RateLimit": [_left(each) for each in self._policies if each.left is not None],
        }
        return {name: ", ".join(items) for name, items in headers.items() if items}


class Reads:
    """Counts each visitor's calls that don't ask the model: reads, resumes, stops and ratings.

    Each process counts in memory: counting a read in the database would cost a write. Raises VisitorRateLimited, with
    the seconds to wait.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, str]] = Counter()
        self._ends = float("-inf")  # time.monotonic()

    def count(self, tenant: Tenant, address: str) -> None:
        if not tenant.visitor_rate_per_minute:
            return
        now = time.monotonic()
        if now >= self._ends:
            self._counts.clear()
            self._ends = now + WINDOW_SECONDS
        visitor = tenant.id, visitor_id(tenant, address)
        if self._counts[visitor] >= max(READS_PER_QUESTION * tenant.visitor_rate_per_minute, LEAST_READS):
            raise VisitorRateLimited(
                "the visitor's reads",
                detail="Too many requests in a short time. Please wait a moment.",
                retry_after=ceil(self._ends - now),
            )
        self._counts[visitor] += 1


def most_readers(tenant: Tenant) -> int:
    """The readers that one answer may have: one more than a visitor's streams, for a disconnect that goes unnoticed."""
    return min(tenant.visitor_streams + 1, MOST_READERS) if tenant.visitor_streams else MOST_READERS


def answer_cap(settings: Settings, of_tenant: int | None) -> int:
    """The most tokens of an answer; 0 for no limit."""
    return settings.max_answer_tokens if of_tenant is None else of_tenant


def _policy(policy: Policy) -> str:
    unit = "" if policy.unit == "requests" else f';qu="{policy.unit}"'
    return f'"{policy.name}";q={policy.quota}{unit}' + (f";w={policy.window}" if policy.window else "")


def _left(policy: Policy) -> str:
    return f'"{policy.name}";r={policy.left}' + ("" if policy.seconds is None else f";t={policy.seconds}")
