// Where a value of a configuration was written.
#pragma once

#include <memory>
#include <string>

namespace fabric::config {

/// A file, a variable, an argument, a checkpoint or a link that gives values.
struct Source {
  enum Kind { file, checkpoint, environment, argument, link };
  Kind kind = file;
  std::string name{};    ///< path, variable, the option of an argument, "a → b" of a link
  std::string folder{};  ///< absolute: what relative paths in it begin at
};

/// A line and column of a source; or the program's own code, which gives the defaults.
class Place {
 public:
  Place() = default;
  /// @param line of a file, from 1; the number of an argument
  Place(std::shared_ptr<const Source> source, int line, int column)
      : source_(std::move(source)), line_(line), column_(column) {}

  /// Whether a user gave the value; false for a default of the program.
  bool given() const { return source_ != nullptr; }
  /// Null for a default.
  const std::shared_ptr<const Source>& source() const { return source_; }
  int line() const { return line_; }
  int column() const { return column_; }
  /// "train.yaml:3:7", "TRAIN_WIDTH", "--width (argument 2)", "checkpoint last.pt", "link a → b" or
  /// "default".
  std::string text() const;

 private:
  std::shared_ptr<const Source> source_{};
  int line_ = 0;
  int column_ = 0;
};

}  // namespace fabric::config
