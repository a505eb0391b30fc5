#!/usr/bin/env bash
# What the generator refuses, with its texts. Arguments: the Python, the generator, the compiler.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$1 generator=$2 compiler=$3
failed=0

# refuse "TEXT" <<< SOURCE
refuse() {
  cat > "$work/source.cpp"
  local said
  if said=$("$python" "$generator" --output "$work/out.h" --depfile "$work/out.d" --project "$work" \
    "$work/source.cpp" -- "$compiler" -std=c++20 2>&1); then
    echo "accepted, expected: $1"
    failed=1
  elif [[ $said != *"[fabric.inference_entries]"*"$1"* ]]; then
    echo "said: $said"
    echo "expected: $1"
    failed=1
  fi
}

refuse "the entry 'f' of my::Net is private; expected a public method" <<< '
namespace my { class Net { [[fabric::inference_entry]] void f(); }; }'
refuse "must stand before a method" <<< '
struct Net { [[fabric::inference_entry]] int x; };'
refuse "'operator()' cannot be an inference entry" <<< '
struct Net { [[fabric::inference_entry]] int operator()(int); };'
refuse "'Net' cannot be an inference entry" <<< '
struct Net { [[fabric::inference_entry]] Net(int); };'
refuse "overloads of 'f' have different options" <<< '
struct Net { [[fabric::inference_entry]] int f(int); [[fabric::inference_entry(.grad = "off")]] int f(double); };'
refuse "source.cpp:2: [[fabric::inference_entry]] is not on a method of a class" <<< '
[[fabric::inference_entry]] void free_function();'
refuse "source.cpp:2" <<< '
void f() { struct Local { [[fabric::inference_entry]] void g() {} }; }'
refuse "cannot be preprocessed" <<< '
#include "missing.h"'
cat > "$work/other.cpp" <<< 'namespace { struct Net { [[fabric::inference_entry]] void f(); }; }'
cat > "$work/source.cpp" <<< '

namespace { struct Net { [[fabric::inference_entry]] void g(); }; }'
if said=$("$python" "$generator" --output "$work/out.h" --depfile "$work/out.d" --project "$work" \
  "$work/source.cpp" "$work/other.cpp" -- "$compiler" -std=c++20 2>&1) || [[ $said != *"is defined twice"* ]]; then
  echo "two classes of one name: $said"
  failed=1
fi
exit $failed
