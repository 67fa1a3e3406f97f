"""Thoughts that a model writes into its answer: between tags, at the beginning. Providers that know the model send them
in a separate field; from others they come as text."""

import re

# The tags that open thoughts, in lower case, and those that close them.
TAGS: dict[str, re.Pattern[str]] = {
    opening: re.compile(re.escape(closing), re.IGNORECASE | re.ASCII)
    for opening, closing in {
        "<think>": "</think>",
        "<thinking>": "</thinking>",
        "<thought>": "</thought>",
        "<thoughts>": "</thoughts>",
        "<reasoning>": "</reasoning>",
        "<seed:think>": "</seed:think>",
        "<|begin_of_thought|>": "<|end_of_thought|>",
        "[think]": "[/think]",
        "◁think▷": "◁/think▷",
        "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
        "<|channel>thought": "<channel|>",
        "<|start_thinking|>": "<|end_thinking|>",
    }.items()
}
UNSENT_OPENING = "<think>"  # part of the prompt template of some models
UNOPENED = "</think>"
LONGEST_TAG = max(map(len, TAGS))
MAX_BLOCKS = 20  # of consecutive thoughts
MAX_WHITE_SPACE = 1000  # before a tag; with more, it is an answer
MAX_HELD_CHARS = 200_000  # of thoughts that may turn out to be the answer, to be buffered


class LeadingThoughts:
    """Separates the thoughts at an answer's beginning from the answer, however they are split.

    `opened`: the opening tag is not sent, because the prompt ends with it.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self.over = False  # the answer itself has begun: everything else is text
        self._start = ""  # white space, and the possible beginning of a tag
        self._closing = TAGS[UNSENT_OPENING] if opened else None  # the closing tag of the current thoughts
        self._is_guess = opened  # nothing but the past says that the current thoughts are some
        self._tail = ""  # the end of the text read so far, in which the closing tag may have begun
        self._held = [""]  # the current thoughts with their tag, as written
        self._held_chars = 0
        self._blocks = 0  # completed thoughts

    @property
    def found(self) -> bool:
        """Whether there were any, with their end."""
        return self._blocks > 0

    def feed(self, text: str) -> tuple[str, str]:
        """Split the next piece into the answer's text and thoughts."""
        thoughts = ""
        while True:
            if self._closing is None:
                self._start += text
                begins = self._open()
                if not begins:
                    return self._begin() if self.over else "", thoughts
                text, self._start = self._start[begins:], ""
            thought, text = self._read(text)
            thoughts += thought
            if self._closing is not None:
                return "", thoughts

    def close(self, *, complete: bool) -> tuple[str, str]:
        """End the answer. Returns buffered text that turned out to be the answer, and the thoughts.

        If an answer is complete, thoughts without an end are the answer; those without a beginning are in any case.
        """
        self.over = True
        if self._closing is None:
            return self._begin(), ""
        held = "".join(self._held)
        is_answer = complete or (self._is_guess and not held.lstrip().lower().startswith(tuple(TAGS)))
        if not is_answer or self._held_chars > MAX_HELD_CHARS:
            return "", ""
        return held, "".join(self._held[1:])

    def _open(self) -> int:
        """The position where the thoughts begin, after their tag; 0 if there are none yet."""
        begun = self._start.lstrip()
        space = len(self._start) - len(begun)
        lowered = begun[:LONGEST_TAG].lower()
        if self._blocks < MAX_BLOCKS and space <= MAX_WHITE_SPACE:
            for opening, closing in TAGS.items():
                if lowered.startswith(opening):
                    self._closing, self._tail = closing, ""
                    self._held, self._held_chars = [self._start[: space + len(opening)]], 0
                    return space + len(opening)
            if any(opening.startswith(lowered) for opening in TAGS):
                return 0
        self.over = True
        return 0

    def _begin(self) -> str:
        """The beginning of the answer, without the white space that separates it from thoughts."""
        begun = self._start.lstrip() if self._blocks else self._start
        self._start = ""
        return begun

    def _read(self, text: str) -> tuple[str, str]:
        """The thoughts in a text, and the text after them, if they end in it."""
        assert self._closing is not None
        looked_at = self._tail + text
        closed = self._closing.search(looked_at)
        if closed is None:
            self._tail = looked_at[-LONGEST_TAG:]
            self._held_chars += len(text)
            if self._held_chars <= MAX_HELD_CHARS:
                self._held.append(text)
            return text, ""
        self._closing, self._is_guess = None, False
        self._blocks += 1
        rest = looked_at[closed.end() :]
        return text[: len(text) - len(rest)], rest
