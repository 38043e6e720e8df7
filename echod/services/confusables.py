"""Characters that look like letters and digits of ASCII, from Unicode's `confusables.txt` (UTS 39, 4).

The table has Latin, digits, and the scripts in which a whole name can look like Latin: Greek, Cyrillic, Armenian,
Cherokee, Coptic and Lisu.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_LIKE: Final[Mapping[str, str]] = {
    "a": "ɑαа",
    "b": "ƄЬᏏ",
    "c": "ᴄⲥсꮯ",
    "d": "ԁᏧꓒ",
    "e": "ꬲеҽ",
    "f": "ꬵꞙẝք",
    "g": "ɡᶃƍց",
    "h": "һհᏂ",
    "i": "ıɪɩιіꙇӏꭵᎥ",
    "j": "ϳј",
    "l": "I1۱ƖǀΙⲒІӀꓲ",
    "n": "ոռ",
    "o": "०۵ᴏᴑꬽοσⲟоօ",
    "p": "ρⲣр",
    "q": "ԛգզ",
    "r": "ꭇꭈᴦⲅгꮁ",
    "s": "ꜱƽѕꮪ",
    "u": "ꞟᴜꭎꭒʋυս",
    "v": "ᴠνѵꮩ",
    "w": "ɯᴡѡԝաꮃ",
    "x": "х",
    "y": "ɣᶌʏỿꭚγуү",
    "z": "ᴢꮓ",
    "A": "ΑАᎪꓮ",
    "B": "ꞴΒВᏴꓐ",
    "C": "ⲤСᏟꓚ",
    "D": "Ꭰꓓ",
    "E": "ΕЕᎬꓰ",
    "F": "ꞘϜꓝ",
    "G": "ԌᏀᏳꓖ",
    "H": "ΗⲎНᎻꓧ",
    "J": "ꞲͿЈᎫꓙ",
    "K": "ΚⲔКᏦꓗ",
    "L": "ⳐᏞꓡ",
    "M": "ΜϺⲘМᎷꓟ",
    "N": "ΝⲚꓠ",
    "O": "0ΟⲞОՕꓳ",
    "P": "ΡⲢРᏢꓑ",
    "R": "ƦᎡᏒꓣ",
    "S": "ЅՏᏕᏚꓢ",
    "T": "ΤⲦТᎢꓔ",
    "U": "Սꓴ",
    "V": "۷ѴᏙꓦ",
    "W": "ԜᎳᏔꓪ",
    "X": "ꞳΧⲬХꓫ",
    "Y": "ΥⲨУҮᎩᎽꓬ",
    "Z": "ΖᏃꓜ",
    "2": "ꝚƧϨꙄ",
    "3": "ꞫȜƷꝪⳌЗӠ",
    "4": "Ꮞ",
    "5": "Ƽ",
    "6": "ⳒбᏮ",
    "8": "ȣȢ",
    "9": "ꝮⳊ",
}

_ASCII: Final = str.maketrans({other: plain for plain, others in _LIKE.items() for other in others})


def skeleton(name: str) -> str:
    """The appearance of a name in any script and case. Two names with the same skeleton look alike. `name` is in the
    form that is shown; the skeleton is only for comparisons."""
    return name.translate(_ASCII).casefold().translate(_ASCII).replace("rn", "m").replace("vv", "w")
