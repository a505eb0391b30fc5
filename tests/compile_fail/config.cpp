// Configurations that must not compile, each with a text that the compiler has to show.
#include <memory>
#include <set>
#include <string>

#include <fabric/config.h>

struct Foreign {
  int width = 1;
};

class Hidden {
 public:
  int width() const { return width_; }
  Hidden& width(int value) {
    width_ = value;
    return *this;
  }

 private:
  int width_ = 1;
};

// CASE help_name: 'widht' was not declared in this scope
struct Model {
  int width = 1;
#ifdef CASE_help_name
  FABRIC_HELP(widht, "units")
#else
  FABRIC_HELP(width, "units")
#endif
};

// CASE foreign_help_name: a specialisation of fabric::config::Help names a field that the struct
// has not
template <>
struct fabric::config::Help<Foreign> {
#ifdef CASE_foreign_help_name
  static constexpr FieldHelp fields[] = {{ "height", "units" }};
#else
  static constexpr FieldHelp fields[] = {{"width", "units"}};
#endif
};

// CASE external_help_name: a specialisation of fabric::config::Help names an option that the class has not
#ifdef CASE_external_help_name
template <>
struct fabric::config::Help<Hidden> {
  static constexpr FieldHelp fields[] = {{"height", "units"}};
};
#endif

// CASE external_name: has no member named 'height'
#ifdef CASE_external_name
FABRIC_EXTERNAL_OPTIONS(Hidden, width, height)
#else
FABRIC_EXTERNAL_OPTIONS(Hidden, width)
#endif

// CASE type: this type cannot be an option
// CASE constructor: this type cannot be an option
// CASE tuple: this type cannot be an option
struct WithConstructor {
  WithConstructor() {}
  int width = 1;
};

struct Config {
  Model model{};
  Foreign foreign{};
  Hidden hidden{};
#ifdef CASE_type
  std::set<int> numbers{};
#endif
#ifdef CASE_constructor
  WithConstructor other{};
#endif
#ifdef CASE_tuple
  std::tuple<int, std::string> mixed{};
#endif
};

// CASE root: a configuration is a plain struct
#ifdef CASE_root
using Root = WithConstructor;
#else
using Root = Config;
#endif

// CASE required: no match for 'operator='
void set(fabric::Required<int>& number) {
#ifdef CASE_required
  number = std::string("3");
#else
  number = 3;
#endif
}

int main(int argc, char** argv) {
  const auto config = fabric::config::parse<Root>(argc, argv);
}
