"""English: numbers and abbreviations in words, acronyms, homographs, unknown words."""

import pytest

from voxray.text import TextPipeline

speak = TextPipeline()


def words(text: str) -> str:
    return " ".join(word.text for word in speak(text).words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs $3.50.", "It costs three dollars and fifty cents"),
        ("£1.5 million", "one point five million pounds"),
        ("in 1999 and 2005", "in nineteen ninety-nine and two thousand five"),
        ("the 1990s", "the nineteen nineties"),
        ("July 15, 2019", "July fifteenth twenty nineteen"),
        ("2:59 or 17:00", "two fifty-nine or five P M"),
        ("Call 555-123-4567", "Call five five five one two three four five six seven"),
        ("10km in 45 min", "ten kilometers in forty-five minutes"),
        ("1kg, 3/4, 22nd", "one kilogram three quarters twenty-second"),
        ("12.5% of 300020", "twelve point five percent of three hundred thousand twenty"),
        ("Dr. Lee on Elm St.", "Doctor Lee on Elm Street"),
        ("No. 5 vs. No. 6", "number five versus number six"),
        ("1 dog, 007", "one dog zero zero seven"),
        ("-5°C", "minus five degrees Celsius"),
        ("pages 3-5", "pages three to five"),
    ],
)
def test_normalisation(text, expected):
    assert words(text).replace("-", " ") == expected.replace("-", " ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FBI", "EH1 F B IY1 AY1"),
        ("NASA", "N AE1 S AH0"),
        ("Tom's", "T AA1 M Z"),
        ("Alice's", "AE1 L IH0 S AH0 Z"),
        ("a dog", "AH0 D AO1 G"),
        ("A.", "EY1 ."),
        ("ALL CAPS SENTENCE", "AO1 L K AE1 P S S EH1 N T AH0 N S"),
        ("mother-in-law", "M AH1 DH ER0 IH0 N L AO2"),
        ("naïve café", "N AY2 IY1 V K AH0 F EY1"),
    ],
)
def test_words(text, expected):
    assert str(speak(text)) == expected


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("She read the book.", 1, "R EH1 D"),
        ("I will read it.", 2, "R IY1 D"),
        ("He will record it.", 2, "R IH0 K AO1 R D"),
        ("A new record.", 2, "R EH1 K ER0 D"),
        ("too strong to wind the sail", 3, "W AY1 N D"),
        ("The wind was strong.", 1, "W IH1 N D"),
        ("It is close to me.", 2, "K L OW1 S"),
        ("Close the door.", 0, "K L OW1 Z"),
        ("live music", 0, "L AY1 V"),
        ("They live here.", 1, "L IH1 V"),
    ],
)
def test_homographs(text, word, expected):
    sounds = [item.symbol for item in speak(text).items if item.word == word]
    assert " ".join(sounds) == expected


def test_unknown_words_are_pronounced_not_spelled():
    sounds = speak("blorptastic").symbols
    assert sounds[0] == "B" and sounds[-1] == "K" and len(sounds) < 14
    assert sum(s.endswith("1") for s in sounds) == 1
