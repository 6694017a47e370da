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
        ("on the 3rd of May, 1066", "on the third of May ten sixty-six"),
        ("July 4-6", "July fourth to sixth"),
        ("+1 (415) 555-0123", "one four one five five five five zero one two three"),
        ("call 911", "call nine one one"),
        ("3 1/2 or 2½ or 1⅓", "three and one half or two and one half or one and one third"),
        ("5'10\", 6ft 2in", "five foot ten six feet two inches"),
        ("2m² at 100 Mbps", "two square meters at one hundred megabits per second"),
        ("5kWh at 60 mph", "five kilowatt hours at sixty miles per hour"),
        ("$5-10, 100€, 20¢", "five to ten dollars one hundred euros twenty cents"),
        ("10%-20%", "ten percent to twenty percent"),
        ("00:30, 24:00, 3-4pm", "twelve thirty A M twelve A M three to four P M"),
        ("9:00-17:00", "nine o'clock to five P M"),
        ("1,000,000th", "one millionth"),
        ("Chapter IV of Henry VIII", "Chapter four of Henry the eighth"),
        ("World War I. The part I like", "World War one The part I like"),
        ("24/7, 3:2, 4x4", "twenty four seven three to two four by four"),
        ("7-2=5, 10^-3", "seven minus two equals five ten to the power of minus three"),
        ("Fig. 3, pp. 3-5, Fri., Dec.", "figure three pages three to five Friday December"),
        ("Mr. & Mrs. Lee, Ph.D.", "Mister and Missis Lee P H D"),
        ("COVID-19, F-16", "COVID nineteen F sixteen"),
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
