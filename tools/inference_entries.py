"""Finds [[fabric::inference_entry]] in C++ sources and writes the header that makes them entries.

    inference_entries.py --output FILE --depfile FILE --project DIR SOURCE... -- COMPILER FLAGS...

Called by fabric_inference_entries (tools/cmake/FabricInferenceEntries.cmake). Each source is
preprocessed by the compiler with the target's flags, so that macros and conditions mean what they
mean to it; what comes from the project's files, and from any other that has the attribute, is parsed
with tree-sitter. An attribute that the parser cannot place on a public method is an error, never
silence.
"""

import argparse
import functools
import os
import re
import subprocess
import sys
import tempfile

import tree_sitter
import tree_sitter_cpp

ATTRIBUTE = re.compile(r"\bfabric\s*::\s*inference_entry\b|\busing\s+fabric\s*:[^\]]*\binference_entry\b")
LINE_MARKER = re.compile(r'^# (\d+) "((?:[^"\\]|\\.)*)"')
LITERALS = re.compile(r'R"([^()\\ ]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])+\'', re.S)


class Problem(Exception):
    """A text for the user."""


class Preprocessed:
    """The lines of one translation unit that matter, and where each came from."""

    def __init__(self, source, command, project):
        self.dependencies = []
        self.lines, self.origins = [], []
        with tempfile.TemporaryDirectory() as folder:
            rules = os.path.join(folder, "rules.d")
            result = subprocess.run(command + ["-E", "-MD", "-MF", rules, "-x", "c++", source],
                                    capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise Problem(f"{source} cannot be preprocessed:\n{result.stderr}")
            with open(rules, encoding="utf-8") as file:
                names = file.read().split(":", 1)[1].replace("\\\n", " ")
            self.dependencies = [name.replace("\\ ", " ") for name in re.split(r"(?<!\\)\s+", names) if name]
        wanted, number = False, 0
        for line in result.stdout.splitlines():
            marker = LINE_MARKER.match(line)
            if marker:
                number, name = int(marker[1]), marker[2]
                wanted = self._is_wanted(name, project)
                continue
            if wanted and not line.startswith("#"):
                self.lines.append(line)
                self.origins.append((name, number))
            number += 1
        # The grammar does not know these, and loses the end of the namespace around them.
        self.text = re.sub(r"\bextern\s+template\b[^;{}]*;", lambda match: re.sub(r"[^\n]", " ", match[0]),
                           "\n".join(self.lines)).encode()

    @staticmethod
    @functools.lru_cache(maxsize=None)  # sources of a target include the same headers
    def _is_wanted(name, project):
        if name.startswith("<"):
            return False
        if not os.path.relpath(os.path.abspath(name), project).startswith(".."):
            return True
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                return ATTRIBUTE.search(file.read()) is not None
        except OSError:
            return False

    def place(self, node):
        name, line = self.origins[node.start_point[0]]
        return f"{name}:{line}"


class Class:
    """A class with attributed methods, with bases, or both."""

    def __init__(self, names, place):
        self.names = names      # qualified; with and without inline namespaces
        self.place = place
        self.bases = []         # injected names of the public ones
        self.methods = {}       # name -> options text


class Finder:
    """Walks one syntax tree."""

    def __init__(self, unit):
        self.unit = unit
        self.classes = []
        self.found = []         # the rows of the attributes that were placed

    def walk(self, node, scope=((),)):
        """scope: the qualified names of where we are, as tuples; several with inline namespaces."""
        if node.type == "namespace_definition":
            name = node.child_by_field_name("name")
            parts = tuple(name.text.decode().replace(" ", "").split("::")) if name else ("{anonymous}",)
            inner = [outer + parts for outer in scope]
            if any(child.type == "inline" for child in node.children):
                inner += list(scope)  # clang leaves inline namespaces out of names
            scope = tuple(inner)
        elif node.type in ("class_specifier", "struct_specifier"):
            body = node.child_by_field_name("body")
            name = node.child_by_field_name("name")
            if body is not None and name is not None:
                self.read_class(node, name, body, scope)
            return
        elif node.type == "compound_statement":
            return  # a local class cannot have entries; attributes in it are counted as unplaced
        for child in node.children:
            self.walk(child, scope)

    def read_class(self, node, name, body, scope):
        own = tuple(re.sub(r"<.*", "", name.text.decode(), flags=re.S).strip().split("::"))
        names = tuple(outer + own for outer in scope)
        found = Class(["::".join(parts) for parts in names], self.unit.place(node))
        access = default = "private" if node.type == "class_specifier" else "public"
        for clause in node.children:
            if clause.type == "base_class_clause":
                self.read_bases(clause, default, found)
        for member in body.children:
            if member.type == "access_specifier":
                access = member.text.decode().strip(": ")
            self.read_member(member, access, found)
            self.walk(member, names)
        if found.methods or found.bases:
            self.classes.append(found)

    @staticmethod
    def read_bases(clause, default, found):
        access = default
        for child in clause.children:
            text = child.text.decode()
            if child.type == "access_specifier":
                access = text
            elif child.type == ",":
                access = default
            elif child.is_named and child.type in ("type_identifier", "template_type", "qualified_identifier"):
                if access == "public":
                    found.bases.append(re.sub(r"<.*", "", text, flags=re.S).split("::")[-1].strip())

    def read_member(self, member, access, found):
        if member.type == "template_declaration":
            for child in member.children:
                if child.type in ("declaration", "field_declaration", "function_definition"):
                    self.read_member(child, access, found)
            return
        if member.type not in ("declaration", "field_declaration", "function_definition"):
            return
        options = self.options_of(member)
        if options is None:
            return
        declarator = next(iter(self.function_declarators(member)), None)
        place = self.unit.place(member)
        if declarator is None:
            raise Problem(f"{place}: [[fabric::inference_entry]] must stand before a method")
        declared = declarator.child_by_field_name("declarator")
        if declared.type == "attributed_declarator":  # name [[attribute]] (parameters)
            declared = declared.children[0]
        name = declared.text.decode()
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name == found.names[0].split("::")[-1]:
            raise Problem(f"{place}: '{name}' cannot be an inference entry; expected an ordinary method with a name")
        if access != "public":
            raise Problem(f"{place}: the entry '{name}' of {found.names[0]} is {access}; expected a public method, "
                          "which a FabricModule can call")
        if found.methods.setdefault(name, options) != options:
            raise Problem(f"{place}: overloads of '{name}' have different options; expected the same on all, or the "
                          "attribute on one of them")

    @staticmethod
    def function_declarators(node):
        for child in node.children:
            if child.type == "function_declarator":
                yield child
            elif child.type in ("reference_declarator", "pointer_declarator"):
                yield from Finder.function_declarators(child)

    def options_of(self, member):
        options = None
        # Before the declaration, or after the name.
        attributes = [child for child in member.children if child.type == "attribute_declaration"]
        for declarator in self.function_declarators(member):
            for child in declarator.children:
                inside = child.children if child.type == "attributed_declarator" else [child]
                attributes += [node for node in inside if node.type == "attribute_declaration"]
        for attribute in attributes:
            text = attribute.text.decode()
            if ATTRIBUTE.search(LITERALS.sub('""', text)):
                self.found.append(attribute.start_point[0])
                inside = re.search(r"\binference_entry\s*\((.*)\)", text, re.S)
                options = re.sub(r"\s+", " ", inside[1].strip()) if inside else ""
        return options


def find(unit):
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_cpp.language()))
    finder = Finder(unit)
    finder.walk(parser.parse(unit.text).root_node)
    plain = LITERALS.sub(lambda match: "\n" * match[0].count("\n"), unit.text.decode())
    marks = [plain.count("\n", 0, match.start()) for match in ATTRIBUTE.finditer(plain)]
    for row in finder.found:
        marks.remove(min(mark for mark in marks if mark >= row))  # its name may stand a line below
    if marks:
        lines = ", ".join("%s:%d" % unit.origins[mark] for mark in marks)
        raise Problem(f"{lines}: [[fabric::inference_entry]] is not on a method of a class that can have entries. "
                      "Hint: it stands before the method's type, in a class that is not local to a function; "
                      "FABRIC_INFERENCE_ENTRY(name) works in every place.")
    return finder.classes


def hash_of(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def write(classes):
    out = ["// Generated by fabric_inference_entries: the methods marked [[fabric::inference_entry]].",
           "#pragma once", "", "#include <fabric/attributed_entries.h>", "", "namespace fabric::detail {"]
    for name in sorted(classes):
        one = classes[name]
        first = hash_of(one.names[0])
        out += ["", f"// {one.names[0]}", "template <>", f"struct AttributedMarks<{first:#x}U> {{"]
        for method, options in one.methods.items():
            comma = ", " if options else ""
            out.append(f'  FABRIC_ENTRY_MIXIN("[[fabric::inference_entry]]", attributed, {method}{comma}{options})')
        out.append(f"  using list = MarkList<{', '.join('FabricMark_' + method for method in one.methods)}>;")
        for base in one.bases:
            out += ["  template <class M>", f"  static auto base_{base}() {{",
                    f"    if constexpr (requires {{ typename M::{base}; }}) {{",
                    f"      return AttributedMarksOf<typename M::{base}>{{}};",
                    "    } else {", "      return MarkList<>{};", "    }", "  }"]
        total = " + ".join(["MarkList<>{}"] + [f"base_{base}<M>()" for base in one.bases])
        out += ["  template <class M>", f"  static auto inherited() -> decltype({total});", "};"]
        for other in one.names[1:]:
            out += ["template <>", f"struct AttributedMarks<{hash_of(other):#x}U> : AttributedMarks<{first:#x}U> {{}};"]
    out += ["", "}  // namespace fabric::detail", ""]
    return "\n".join(out)


def collect(units):
    classes = {}
    for unit in units:
        for one in find(unit):
            known = classes.setdefault(one.names[0], one)
            if known.place != one.place and (known.methods or one.methods):
                raise Problem(f"the class {one.names[0]} is defined twice, with entries: {known.place} and {one.place}; "
                              "expected different names (also in unnamed namespaces of one target)")
    # Those with entries, and those that may inherit some. Names of bases stand as written, so their
    # last part decides; what the compiler finds behind it counts in the end.
    wanted = {name for name, one in classes.items() if one.methods}
    while True:
        last_parts = {name.split("::")[-1] for name in wanted}
        more = {name for name, one in classes.items() if last_parts.intersection(one.bases)} - wanted
        if not more:
            return {name: classes[name] for name in wanted}
        wanted |= more


def main():
    split = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--depfile", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("sources", nargs="+")
    arguments = parser.parse_args(sys.argv[1:split])
    command = sys.argv[split + 1:]
    try:
        units = [Preprocessed(source, command, os.path.abspath(arguments.project)) for source in arguments.sources]
        text = write(collect(units))
    except Problem as problem:
        sys.exit(f"[fabric.inference_entries] {problem}")
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(text)
    dependencies = sorted({name for unit in units for name in unit.dependencies})
    with open(arguments.depfile, "w", encoding="utf-8") as file:
        file.write(arguments.output + ": " + " ".join(name.replace(" ", "\\ ") for name in dependencies) + "\n")


if __name__ == "__main__":
    main()
