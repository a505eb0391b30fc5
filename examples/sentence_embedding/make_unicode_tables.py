"""Writes unicode_tables.h: what the tokenizer has to know of characters.

    make_unicode_tables.py vocab.txt > unicode_tables.h

Of the characters that lower-casing and stripping accents change, only those that become one the
vocabulary has are listed: a word with any other is unknown in either form.
"""

import sys
import unicodedata


def category(character):
    return unicodedata.category(character)


def ranges(condition):
    found, first = [], None
    for code in range(0x110001):
        good = code < 0x110000 and condition(chr(code))
        if good and first is None:
            first = code
        elif not good and first is not None:
            found.append((first, code - 1))
            first = None
    return found


def folded(character):
    parts = unicodedata.normalize("NFD", character.lower())
    return "".join(part for part in parts if category(part) != "Mn")


def print_wrapped(items, end):
    line = "   "
    for item in items:
        if len(line) + len(item) + 1 > 99:
            print(line)
            line = "   "
        line += " " + item
    print(line + end)


def print_ranges(name, comment, condition):
    found = ranges(condition)
    print(f"\n// {comment}")
    print(f"constexpr CharacterRange {name}[] = {{")
    print_wrapped([f"{{{first:#x}, {last:#x}}}," for first, last in found], "};")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        known = set("".join(line.rstrip("\n").removeprefix("##") for line in file))
    becomes = {}
    for code in range(0x110000):
        character = chr(code)
        if 0xD800 <= code < 0xE000 or 0xAC00 <= code < 0xD7A4 or category(character) == "Mn":
            continue  # syllables of Hangul are taken apart by arithmetic
        target = folded(character)
        if target != character and set(target) <= known:
            becomes.setdefault(target, []).append(character)

    print("// Written by make_unicode_tables.py from Unicode", unicodedata.unidata_version)
    print("#pragma once\n\nstruct CharacterRange {\n  char32_t first, last;\n};\n")
    print("// The first character of a word is what the others become in lower case without accents.")
    print("constexpr char kFolded[] =")
    words = [target + "".join(sources) for target, sources in sorted(becomes.items()) if len(target) == 1]
    line = ""
    for word in words:
        if len(line) + len(word) + 1 > 88:
            print(f'    "{line}"')
            line = ""
        line += word + " "
    print(f'    "{line}";')
    print("\n// Those that become two: the character and what it becomes, in turn.")
    print("constexpr const char* kFoldedToTwo[] = {")
    print_wrapped([f'"{source}", "{target}",' for target, sources in becomes.items() if len(target) > 1
                   for source in sources], "};")
    print_ranges("kMarks", "Accents and other marks that take no room of their own (Mn).",
                 lambda c: category(c) == "Mn")
    print_ranges("kPunctuation", "P*, and what ASCII has besides letters, digits and controls.",
                 lambda c: category(c)[0] == "P" or (c.isascii() and c.isprintable() and not c.isalnum() and c != " "))
    print_ranges("kControls", "C* as far as assigned, without the tab and ends of lines.",
                 lambda c: category(c) in ("Cc", "Cf", "Co", "Cs") and c not in "\t\n\r")
    print_ranges("kSpaces", "White space.", lambda c: category(c)[0] == "Z" or c in "\t\n\r")


main()
