# Configurations: 1000 options from 3 files against jsonargparse, and what a struct of 30 fields costs to compile
# shellcheck shell=bash disable=SC2154
need_program bench_config
need_python jsonargparse

runs=${BENCH_RUNS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$bin/bench_config" write "$work/files"

ours=()
theirs=()
for ((i = 0; i < runs; ++i)); do
  mine=$("$bin/bench_config" "$work/files" 50)
  other=$("$python" "$peers/config.py" "$work/files" 2)
  if [[ $(value_of sum <<<"$mine") != "$(value_of sum <<<"$other")" ]]; then
    echo "bench: the two sides read different values" >&2
    exit 1
  fi
  ours+=("$(value_of parse_seconds <<<"$mine")")
  theirs+=("$(value_of parse_seconds <<<"$other")")
done
say "ours ${ours[*]} s; jsonargparse ${theirs[*]} s"
bar parse_vs_jsonargparse \
  "$(ratio "$(printf '%s\n' "${theirs[@]}" | median)" "$(printf '%s\n' "${ours[@]}" | median)")"

# A source with a struct of one field and one of 30, both without LibTorch.
source_of() {  # source_of FIELDS
  echo '#include <fabric/config.h>'
  echo 'struct Config {'
  local types=(int double bool std::string 'std::vector<int>') i
  for ((i = 0; i < $1; ++i)); do
    echo "  ${types[i % 5]} field$i{}; FABRIC_HELP(field$i, \"a field\")"
  done
  echo '};'
  echo 'int main(int argc, char** argv) { return fabric::config::parse<Config>(argc, argv)->field0; }'
}
pfr=$(echo "$deps"/venv/lib/python3*/site-packages/cmeel.prefix/include)
compile_seconds() {  # compile_seconds SOURCE N: of the processor, for what `SOURCE N` prints
  "$1" "$2" >"$work/$1$2.cpp"
  TIMEFORMAT='%U'
  { time c++ -std=c++20 -O1 -I"$root" -isystem "$pfr" -c "$work/$1$2.cpp" -o "$work/$1$2.o"; } 2>&1 | tail -n 1
}
one=()
thirty=()
for ((i = 0; i < runs; ++i)); do
  one+=("$(compile_seconds source_of 1)")
  thirty+=("$(compile_seconds source_of 30)")
done
one_field=$(printf '%s\n' "${one[@]}" | median)
say "a source with one field ${one[*]} s; with 30 ${thirty[*]} s"
bar compile_seconds_30_fields \
  "$(awk -v a="$(printf '%s\n' "${thirty[@]}" | median)" -v b="$one_field" 'BEGIN { printf "%.3f\n", a - b }')"
bar compile_30_fields_to_1 "$(ratio "$(printf '%s\n' "${thirty[@]}" | median)" "$one_field")"

# What a class that is registered by name adds to a source: eight fields, without LibTorch.
class_source() {  # class_source REGISTERED
  cat <<'EOF'
#include <string>
#include <vector>
#include <fabric/config.h>
struct Base { virtual ~Base() = default; };
struct Config { int width = 1; fabric::Class<Base> model{}; };
struct First : Base { struct Options { int width = 1; }; explicit First(const Options&) {} };
struct Second : Base {
  struct Options {
    int a = 1; double b = 1; bool c = true; std::string d; std::vector<int> e; int f = 1; double g = 1; bool h = true;
  };
  explicit Second(const Options&) {}
};
int main(int argc, char** argv) {
  fabric::register_class<Base, First>();
EOF
  [[ $1 == 2 ]] && echo '  fabric::register_class<Base, Second>();'
  echo '  return fabric::config::parse<Config>(argc, argv)->width; }'
}
without=()
with=()
for ((i = 0; i < runs; ++i)); do
  without+=("$(compile_seconds class_source 1)")
  with+=("$(compile_seconds class_source 2)")
done
say "a source with one registered class ${without[*]} s; with another of 8 fields ${with[*]} s"
bar class_compile_seconds \
  "$(awk -v a="$(printf '%s\n' "${with[@]}" | median)" -v b="$(printf '%s\n' "${without[@]}" | median)" 'BEGIN { printf "%.3f\n", a - b }')"
