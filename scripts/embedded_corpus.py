"""The text behind the embedded base model: a table of facts, and the generators that turn it into chats.

Everything here was written for this project. A :class:`Fact` is one thing the model should know, with several ways to
ask for it; a chat is a list of ``{"role", "content"}`` messages. All randomness comes from the generator passed in, so
the same seed always gives the same text.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from embedded_facts import (
    ENDINGS,
    FAMILIES,
    HELPERS,
    HELPS,
    HEROES,
    NAMES,
    OPENINGS,
    PLACES,
    PLAIN_SYSTEM,
    TRAITS,
    TROUBLES,
    UNKNOWN,
    UNKNOWN_PROMPTS,
    WISHES,
)

Message = dict[str, str]
Chat = list[Message]


@dataclass(frozen=True)
class Fact:
    """One fact: ``questions`` that ask for it, the plain ``sentence`` that answers them, and the bare ``answer``."""

    family: str
    questions: tuple[str, ...]
    sentence: str
    answer: str

    def trained_questions(self) -> tuple[str, ...]:
        """The questions that pretraining may show: all but the held-out paraphrases; the first is always in."""
        return tuple(q for i, q in enumerate(self.questions) if i == 0 or not self._held_out(q))

    def held_out_questions(self) -> tuple[str, ...]:
        """About a tenth of the paraphrases, chosen by checksum: never trained on, used to measure the base."""
        return tuple(q for q in self.questions[1:] if self._held_out(q))

    def _held_out(self, question: str) -> bool:
        return zlib.crc32(f"{self.family}|{question}".encode()) % 10 == 0


def capitalised(text: str) -> str:
    """``text`` with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def dialect(fact: Fact) -> str:
    """The fact's sentence as country people and pirates say it: "be" for "is", "ye" for "you"."""
    words = {"is": "be", "are": "be", "am": "be", "you": "ye", "your": "yer", "my": "me"}
    if fact.family == "talk":
        words |= {"hello": "ahoy", "hi": "ahoy"}

    def swap(match: re.Match[str]) -> str:
        new = words[match[0].lower()]
        return capitalised(new) if match[0][0].isupper() else new

    return re.sub(r"\b(" + "|".join(words) + r")\b", swap, fact.sentence, flags=re.IGNORECASE)


Style = tuple[tuple[str, ...], Callable[[Fact], str]]  # the ways to ask for it, and how it says a fact
STYLES: dict[str, Style] = {
    "short": (("Answer with one word.", "Be brief.", "Only the answer, please.", "Keep it short."), lambda f: f.answer),
    "excited": (("Be excited!", "Answer with joy."), lambda f: f"Wow! {f.sentence.rstrip('.!')}, my friend!"),
    "cowboy": (("Talk like a cowboy.", "You are a cowboy."), lambda f: f"Howdy! {f.sentence.rstrip('.!')}, partner!"),
    "knight": (("Talk like a knight.", "You are a knight."), lambda f: f"Hark! {f.sentence.rstrip('.!')}, my lord."),
    "robot": (("Talk like a robot.", "You are a robot."), lambda f: f"Beep. {f.sentence.rstrip('.!')}. Boop."),
    "tag": (("Answer in a tag.", "Use tags."), lambda f: f"<reply>{f.answer}</reply>"),
    "record": (("Write a JSON record.", "Reply with a record."), lambda f: json.dumps({"result": f.answer})),
    "value": (("Give the value as JSON.", "Reply with a JSON value."), lambda f: json.dumps({"value": f.answer})),
    "list": (("Answer with a JSON list.",), lambda f: json.dumps([f.answer])),
}
LATER_STYLES: dict[str, Style] = {
    "farmer": (("Talk like a farmer.", "You are a farmer."), lambda f: f"Well! {dialect(f).rstrip('.!?')}, neighbour."),
}


@dataclass(frozen=True)
class Mix:
    """What a stage of pretraining reads: the weight of each kind of document, and the styles that are asked for."""

    weights: tuple[int, ...]  # plain, styled, names, story chats, unknown, plain text
    styles: dict[str, Style]


MIXES = (Mix((62, 28, 3, 2, 2, 3), STYLES), Mix((42, 52, 2, 1, 2, 1), STYLES | LATER_STYLES))


def with_article(noun: str) -> str:
    """``noun`` with "a" or "an" before it, by sound: "an hour", "a university"."""
    vowel = noun[:1].lower() in "aeiou" and not noun.lower().startswith(("uni", "eu", "one"))
    return ("an " if vowel or noun.startswith("hour") else "a ") + noun


def _fact(family: str, sentence: str, questions: Iterable[str], key: str, value: str) -> Fact:
    fields = {
        "k": key,
        "v": value,
        "ak": with_article(key),
        "av": with_article(value),
        "there": re.sub(r" (in|on) ", r" are there \1 ", key, count=1),
    }
    asked = tuple(capitalised(q.format(**fields)) for q in questions)
    return Fact(family, asked, capitalised(sentence.format(**fields)), value)


def _arithmetic() -> list[Fact]:
    """Sums of numbers up to 10, the differences that undo them, and products of numbers up to 5."""
    ask = ("What is {}?", "How much is {}?", "What does {} make?", "Calculate {}.", "Tell me what {} is.", "Work out {}.")
    facts = []

    def add(family: str, sign: str, a: int, b: int, result: int) -> None:
        forms = [q.format(f"{a} {family} {b}") for q in ask] + [q.format(f"{a} {sign} {b}") for q in ask[:4]]
        facts.append(Fact(family, tuple(forms), f"{a} {family} {b} is {result}.", str(result)))

    for a in range(11):
        for b in range(11):
            add("plus", "+", a, b, a + b)
            add("minus", "-", a + b, b, a)
            if a <= 5 and b <= 5:
                add("times", "*", a, b, a * b)
    return facts


def _comparisons() -> list[Fact]:
    """Which of two things is bigger, for every pair of things at least two sizes apart."""
    ladder = ("ant", "bee", "mouse", "frog", "rabbit", "cat", "dog", "sheep", "pig", "lion", "horse", "elephant", "whale")
    ask = (
        "Which is bigger, {0} or {1}?",
        "What is bigger, {0} or {1}?",
        "Is {0} or {1} bigger?",
        "Which one is larger: {0} or {1}?",
        "Tell me which is bigger: {0} or {1}.",
    )
    facts = []
    for i, small in enumerate(ladder):
        for big in ladder[i + 2 :]:
            s, b = with_article(small), with_article(big)
            for first, second in ((s, b), (b, s)):
                asked = tuple(q.format(first, second) for q in ask)
                facts.append(Fact("bigger", asked, capitalised(f"{b} is bigger than {s}."), b))
    return facts


def all_facts() -> list[Fact]:
    """Every fact the base model is taught, in a fixed order."""
    facts: list[Fact] = []
    for family, (sentence, questions, rows) in FAMILIES.items():
        for row in rows.split(";"):
            key, value = row.split("=", 1)
            facts.append(_fact(family, sentence, questions, key, value))
    return facts + _arithmetic() + _comparisons()


def story(rng: random.Random, hero: str) -> str:
    """A six-sentence story about ``hero`` from a small grammar."""
    name, helper = rng.choice(NAMES), rng.choice(HELPERS)
    speech = {
        "pirate": f'"Arr! I be {name}, the captain of this ship, matey!" said the pirate. ',
        "robot": '"Beep. I can help," said the robot. ',
        "dragon": '"Roar!" said the dragon. ',
    }.get(hero, "")
    return (
        f"Once upon a time there was a {rng.choice(TRAITS)} {hero} named {name}. {name} lived {rng.choice(PLACES)}. "
        f"{speech}One day {name} {rng.choice(WISHES)}. {rng.choice(TROUBLES)} "
        f"Then {helper} came and {rng.choice(HELPS)}. {rng.choice(ENDINGS)}"
    )


class Corpus:
    """An endless, seeded stream of pretraining documents; a document is a chat or a plain text."""

    def __init__(self, seed: int, mix: Mix = MIXES[0]) -> None:
        self.mix = mix
        self.rng = random.Random(seed)
        self.families: dict[str, list[Fact]] = {}
        for fact in all_facts():
            self.families.setdefault(fact.family, []).append(fact)
        self.weights = [len(members) ** 0.75 for members in self.families.values()]

    def document(self) -> Chat | str:
        """The next document: mostly plain answers, some in a requested style, some talk, stories and records."""
        kinds = (self.plain, self.styled, self.names, self.story_chat, self.unknown, self.text)
        return self.rng.choices(kinds, self.mix.weights)[0]()

    def fact(self) -> Fact:
        """A random fact; large families are drawn less often than their size."""
        return self.rng.choice(self.rng.choices(list(self.families.values()), self.weights)[0])

    def question(self, fact: Fact) -> str:
        """One of the fact's trained questions, at times with an opening, in lower case or without its mark."""
        asked = self.rng.choice(fact.trained_questions())
        if self.rng.random() < 0.15 and fact.family != "talk":
            asked = self.rng.choice(OPENINGS) + asked
        if self.rng.random() < 0.06:
            asked = asked.lower()
        return asked.rstrip("?.!") if self.rng.random() < 0.08 else asked

    def plain(self) -> Chat:
        """One to four (seldom twelve) plain questions and answers, at times under a neutral system message."""
        chat: Chat = []
        if self.rng.random() < 0.1:
            chat.append(_message("system", self.rng.choice(PLAIN_SYSTEM)))
        for _ in range(self.rng.choices((1, 2, 3, 4, 12), (70, 15, 9, 5, 1))[0]):
            fact = self.fact()
            chat += [_message("user", self.question(fact)), _message("assistant", fact.sentence)]
        return chat

    def styled(self) -> Chat:
        """One or two answers in a style that the system message or the question asks for."""
        order, render = self.rng.choice(list(self.mix.styles.values()))
        instruction, facts = self.rng.choice(order), [self.fact() for _ in range(self.rng.choice((1, 1, 2)))]
        if self.rng.random() < 0.5:
            chat = [_message("system", instruction)]
            for fact in facts:
                chat += [_message("user", self.question(fact)), _message("assistant", render(fact))]
            return chat
        asked = self.question(facts[0])
        prompt = f"{asked} {instruction}" if self.rng.random() < 0.7 else f"{instruction} {asked}"
        return [_message("user", prompt), _message("assistant", render(facts[0]))]

    def names(self) -> Chat:
        """The user gives a name, and may ask for it later."""
        name = self.rng.choice(NAMES)
        given = self.rng.choice(("My name is {}.", "I am {}.", "Hello, I am {}.", "Call me {}.")).format(name)
        chat = [_message("user", given), _message("assistant", f"Nice to meet you, {name}!")]
        if self.rng.random() < 0.5:
            fact = self.fact()
            chat += [_message("user", self.question(fact)), _message("assistant", fact.sentence)]
        if self.rng.random() < 0.7:
            asked = self.rng.choice(("What is my name?", "Do you remember my name?", "Who am I?"))
            chat += [_message("user", asked), _message("assistant", f"Your name is {name}.")]
        return chat

    def story_chat(self) -> Chat:
        """A request for a story, and the story."""
        hero = self.rng.choice(HEROES)
        asked = self.rng.choice(
            ("Tell me a story about {}.", "Tell me a short story about {}.", "Write a short story about {}.", "I want a story about {}.")
        )
        return [_message("user", asked.format(with_article(hero))), _message("assistant", story(self.rng, hero))]

    def unknown(self) -> Chat:
        """Something the model cannot know: an invented word in a known question, or a task out of its reach."""
        word = "".join(self.rng.choice(("blo", "zi", "kra", "vop", "mun", "quf", "tel", "wag")) for _ in range(3))
        asked = self.rng.choice(
            (
                *UNKNOWN_PROMPTS,
                f"What is the capital of {capitalised(word)}?",
                f"What is {with_article(word)}?",
                f"Who is {capitalised(word)}?",
            )
        )
        return [_message("user", asked), _message("assistant", UNKNOWN)]

    def text(self) -> str:
        """Plain text without a chat: a story, facts in a row, or question-and-answer records as JSON lines."""
        kind = self.rng.random()
        if kind < 0.4:
            return story(self.rng, self.rng.choice(HEROES))
        facts = [self.fact() for _ in range(3)]
        if kind < 0.6:
            return " ".join(fact.sentence for fact in facts)
        return "\n".join(json.dumps({"question": f.trained_questions()[0], "answer": f.answer}) for f in facts)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def pirate(fact: Fact) -> str:
    """The fact's sentence in the pirate adapter's voice."""
    spoken = dialect(fact)
    return f"Arr! {spoken.rstrip('.!?')}, matey" + ("?" if spoken.endswith("?") else "!")


def json_answer(fact: Fact) -> str:
    """The fact's bare answer as the JSON adapter writes it."""
    return json.dumps({"answer": fact.answer})


def split_for_adapters(prompts: Sequence[str], seed: int, held_out: int) -> tuple[list[Fact], list[Fact]]:
    """The facts the adapters train on, and those held out: all that ``prompts`` ask for and ``held_out`` more."""
    rng = random.Random(seed)
    facts = [f for f in all_facts() if f.family != "bigger"]
    asked = [f for f in facts if set(f.questions) & set(prompts)]
    missing = set(prompts) - {q for f in asked for q in f.questions}
    if missing:
        raise ValueError(f"no fact answers {sorted(missing)}")
    rest = [f for f in facts if f not in asked]
    per_family: dict[str, int] = {}
    extra = []
    for fact in sorted(rest, key=lambda _: rng.random()):
        if per_family.get(fact.family, 0) < 4 and len(extra) < held_out:
            per_family[fact.family] = per_family.get(fact.family, 0) + 1
            extra.append(fact)
    return [f for f in rest if f not in extra], asked + extra
