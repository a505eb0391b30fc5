// What is written to standard error while an object lives.
#pragma once

#include <iostream>
#include <sstream>
#include <string>

namespace support {

class CapturedLog {
 public:
  CapturedLog() : before_(std::cerr.rdbuf(text_.rdbuf())) {}
  ~CapturedLog() { std::cerr.rdbuf(before_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::streambuf* before_;
};

}  // namespace support
