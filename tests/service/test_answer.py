"""An answer in memory: its text from any position, whatever pieces it came in, and what it takes."""

import random
import tracemalloc
import uuid

from service.answers.answer import Answer


def answer_of(pieces: list[str]) -> Answer:
    answer = Answer(uuid.uuid4(), uuid.uuid4())
    for piece in pieces:
        answer.receive(piece)
    return answer


async def test_the_text_after_any_position_is_the_same_however_it_arrived() -> None:
    choice = random.Random(1)
    pieces = ["".join(choice.choices("ab é😀", k=choice.randint(1, 9))) for _ in range(300)]
    whole = "".join(pieces)
    answer = answer_of(pieces)
    for position in reversed(range(len(whole) + 2)):  # from 0 the answer joins all pieces
        assert answer.text(position) == whole[position:]


async def test_a_reader_of_every_piece_gets_the_whole_text_once() -> None:
    answer, read = answer_of([]), ""
    for number in range(1000):
        answer.receive(f"{number} ")
        read += answer.text(len(read))
        if number == 500:
            assert answer.text() == read
    assert read == "".join(f"{number} " for number in range(1000))


async def test_a_long_answer_in_small_pieces_takes_little_more_than_its_characters() -> None:
    answer = answer_of([])
    tracemalloc.start()
    for number in range(10_000):
        answer.receive(f"{number % 10} ")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 * answer.length
