// Looking up mpirun, and starting a program again under it. The program that is started again is
// relaunch_program.cpp beside this file; CMake passes its path.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <accelerators/error.h>
#include <fabric/launch.h>

namespace {

/// Sets or unsets a variable of this process until the end of the scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) {
      before_ = before;
    }
    set(value);
  }
  ~Variable() { set(before_ ? before_->c_str() : nullptr); }

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_, value, 1);
    } else {
      unsetenv(name_);
    }
  }
  const char* name_;
  std::optional<std::string> before_;
};

struct Result {
  int exit_code;
  std::string output;  // of both streams
};

Result shell(const std::string& command) {
  FILE* pipe = popen(("exec 2>&1; " + command).c_str(), "r");
  REQUIRE(pipe != nullptr);
  Result result{};
  std::array<char, 4096> chunk;
  while (const std::size_t count = fread(chunk.data(), 1, chunk.size(), pipe)) {
    result.output.append(chunk.data(), count);
  }
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

const std::string kProgram = FABRIC_RELAUNCH_PROGRAM;

bool has_mpirun() {
  try {
    fabric::detail::find_mpirun();
    return true;
  } catch (const fabric::Error&) {
    return false;
  }
}

/// A folder with an executable script in it, removed at the end of the scope.
class Script {
 public:
  explicit Script(const std::string& body) {
    std::string pattern = (std::filesystem::temp_directory_path() / "fabric-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(path()) << "#!/bin/sh\n" << body << "\n";
    chmod(path().c_str(), 0755);
  }
  ~Script() { std::filesystem::remove_all(folder_); }
  const std::string& folder() const { return folder_; }
  std::string path() const { return folder_ + "/fake-mpirun"; }

 private:
  std::string folder_;
};

}  // namespace

TEST_SUITE("fabric.launch") {
  TEST_CASE("a launcher is a launcher") {
    CHECK_FALSE(fabric::started_by_launcher({}));
    fabric::Environment environment;
    environment.launcher = fabric::Launcher{"mpirun", 2, 0, 0, 2};
    CHECK(fabric::started_by_launcher(environment));
  }

  TEST_CASE("there is a core to run on") {
    CHECK(fabric::detail::usable_cores() >= 1);
  }

  TEST_CASE("mpirun is looked up") {
    const Script script("exit 0");
    {
      const Variable mpirun("FABRIC_MPIRUN", script.path().c_str());
      CHECK(fabric::detail::find_mpirun() == script.path());
    }
    {
      const Variable mpirun("FABRIC_MPIRUN", "fake-mpirun");
      const Variable path("PATH", ("/nowhere:" + script.folder()).c_str());
      CHECK(fabric::detail::find_mpirun() == script.path());
    }
    {
      const Variable mpirun("FABRIC_MPIRUN", nullptr);
      const Variable path("PATH", "/nowhere");
      CHECK_THROWS_WITH_AS(fabric::detail::find_mpirun(),
                           doctest::Contains("needs mpirun, and PATH has none. Hint: tools/setup"),
                           fabric::MisconfigurationError);
    }
    {
      const Variable mpirun("FABRIC_MPIRUN", "/nowhere/mpirun");
      CHECK_THROWS_WITH_AS(fabric::detail::find_mpirun(),
                           doctest::Contains("got '/nowhere/mpirun'"),
                           fabric::MisconfigurationError);
    }
  }

  TEST_CASE("the command is said and holds the arguments") {
    const Script script("for word in \"$@\"; do echo \"<$word>\"; done");
    const Variable mpirun("FABRIC_MPIRUN", script.path().c_str());
    const Variable threads("OMP_NUM_THREADS", nullptr);
    for (const char* way : {"main", "system"}) {  // where the arguments come from
      CAPTURE(way);
      const Result result = shell(kProgram + " " + way + " 1000 'two words' \"it's\" ''");
      CAPTURE(result.output);
      CHECK(result.exit_code == 0);
      CHECK(result.output.find("buffered before\n") == 0);
      CHECK(result.output.find("[fabric] OMP_NUM_THREADS=1 ") != std::string::npos);
      CHECK(result.output.find("fake-mpirun -np 1000 --bind-to none --oversubscribe " + kProgram +
                               " " + way + " 1000 'two words' 'it'\\''s' ''\n") !=
            std::string::npos);
      CHECK(result.output.find("<two words>\n<it's>\n<>\n") != std::string::npos);
    }
    CHECK(shell(kProgram + " quiet 2").output.find("[fabric]") == std::string::npos);
  }

  TEST_CASE("it does not start itself for ever") {
    const Script script(
        "exec \"$5\" \"$6\" \"$7\"");  // starts the program as mpirun does, but plainly
    const Variable mpirun("FABRIC_MPIRUN", script.path().c_str());
    const Result result = shell(kProgram + " main 1");
    CAPTURE(result.output);
    CHECK(result.exit_code == 3);
    CHECK(result.output.find("it would start itself for ever; got FABRIC_RELAUNCHED=1") !=
          std::string::npos);
  }

  TEST_CASE("an mpirun that cannot be executed is an error") {
    const Variable mpirun("FABRIC_MPIRUN", std::filesystem::temp_directory_path().c_str());
    const Result result = shell(kProgram + " main 2");
    CAPTURE(result.output);
    CHECK(result.exit_code == 3);
    CHECK(result.output.find("cannot be executed: ") != std::string::npos);
  }

  TEST_CASE("mpirun starts the processes" * doctest::skip(!has_mpirun())) {
    const Result result = shell("timeout 60 " + kProgram + " main 3");
    CAPTURE(result.output);
    CHECK(result.exit_code == 0);
    for (const char* rank : {"rank 0 of 3", "rank 1 of 3", "rank 2 of 3"}) {
      CHECK(result.output.find(rank) != std::string::npos);
    }
  }
}
