// Python programs that tests run, to write files for us and to read ours.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include <sys/wait.h>

/// The interpreter that tools/setup makes: FABRIC_PYTHON, else the one in FABRIC_DEPS.
inline std::string python_path() {
  if (const char* python = std::getenv("FABRIC_PYTHON")) {
    return python;
  }
  const char* deps = std::getenv("FABRIC_DEPS");
  const char* home = std::getenv("HOME");
  return (deps != nullptr ? std::string(deps)
                          : std::string(home != nullptr ? home : "") + "/.cache/fabric-cpp") +
         "/venv/bin/python";
}

struct PythonResult {
  int status = -1;
  std::string output;
};

/// Runs `python arguments`, output and errors together.
inline PythonResult run_python(const std::string& arguments) {
  const std::string command = "OMP_NUM_THREADS=1 '" + python_path() + "' " + arguments + " 2>&1";
  PythonResult result;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) {
    return result;
  }
  char buffer[4096];
  while (const std::size_t count = std::fread(buffer, 1, sizeof(buffer), pipe)) {
    result.output.append(buffer, count);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

/// Whether Python can import all of `modules` ("torch, numpy"); says so where it cannot.
inline bool python_has(const std::string& modules) {
  const bool there = run_python("-c 'import " + modules + "'").status == 0;
  if (!there) {
    std::cout << "skipped: Python cannot import " << modules
              << " (tools/setup --peers brings it)\n";
  }
  return there;
}

/// The path of a script in tests/python, quoted. (Not by __FILE__: ccache makes that relative.)
inline std::string python_script(const std::string& name) {
  return "'" + (std::filesystem::path(FABRIC_TESTS_FOLDER) / "python" / name).string() + "'";
}
