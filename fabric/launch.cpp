#include <fabric/launch.h>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {
namespace {

/// Set in the processes that relaunch() starts, so that it never starts them again.
constexpr const char* kGuard = "FABRIC_RELAUNCHED";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// The path of this program, also where argv[0] is relative or made up.
std::string this_program() {
  std::string path(4096, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  FABRIC_CHECK(Misconfiguration, length > 0 && length < static_cast<ssize_t>(path.size()),
               "[fabric.launch] /proc/self/exe cannot be read: ", std::strerror(errno),
               ". Hint: start the program with mpirun -np N.");
  path.resize(static_cast<std::size_t>(length));
  return path;
}

/// The arguments of this program without its name.
std::vector<std::string> arguments(int argc, const char* const* argv) {
  if (argc > 0 && argv != nullptr) {
    return {argv + 1, argv + argc};
  }
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < all.size();) {  // each word ends with a zero byte
    const std::size_t end = std::min(all.find('\0', begin), all.size());
    words.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  if (!words.empty()) {
    words.erase(words.begin());
  }
  return words;
}

/// The word as a shell reads it back.
std::string shell_word(const std::string& word) {
  const bool plain =
      !word.empty() &&
      word.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
          std::string::npos;
  if (plain) {
    return word;
  }
  std::string text = "'";
  for (const char c : word) {
    text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return text + "'";
}

/// Sets a variable unless the user has; returns "NAME=value " for the line that is said, or
/// nothing.
std::string set_default(const char* name, const std::string& value) {
  if (std::getenv(name) != nullptr) {
    return {};
  }
  setenv(name, value.c_str(), 0);
  return std::string(name) + "=" + value + " ";
}

}  // namespace

namespace detail {

int usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return 1;
  }
  std::set<std::string> cores;  // hardware threads of one core share a list of siblings
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) {
      std::string siblings;
      std::ifstream("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                    "/topology/thread_siblings_list") >>
          siblings;
      cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
    }
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

std::string find_mpirun() {
  const std::string wanted = variable("FABRIC_MPIRUN");
  const std::string name = wanted.empty() ? "mpirun" : wanted;
  const auto executable = [](const std::string& path) { return access(path.c_str(), X_OK) == 0; };
  if (name.find('/') != std::string::npos) {
    FABRIC_CHECK(Misconfiguration, executable(name), "[fabric.launch] FABRIC_MPIRUN cannot be ",
                 "executed; got '", name, "'; expected the path of Open MPI's mpirun");
    return name;
  }
  std::istringstream folders(variable("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string path = (folder.empty() ? "." : folder) + "/" + name;
    if (executable(path)) {
      return path;
    }
  }
  FABRIC_CHECK(Misconfiguration, false, "[fabric.launch] more than one process needs ", name,
               ", and PATH has none. Hint: tools/setup installs it (Debian: openmpi-bin); ",
               "FABRIC_MPIRUN names one elsewhere; .devices = 1 needs none.");
  __builtin_unreachable();
}

}  // namespace detail

bool started_by_launcher(const Environment& environment) {
  return environment.launcher.has_value();
}

void relaunch(const Plan& plan, int argc, const char* const* argv, bool quiet) {
  FABRIC_CHECK(Misconfiguration, std::getenv(kGuard) == nullptr,
               "[fabric.launch] this program was started under mpirun by itself and sees no ",
               "variable of a launcher: it would start itself for ever; got ", kGuard, "=",
               variable(kGuard), ". Hint: is FABRIC_MPIRUN the mpirun of Open MPI? ", "Unset ",
               kGuard, " if it was inherited.");
  const int processes = plan.world_size;
  const int cores = detail::usable_cores();
  std::vector<std::string> words{detail::find_mpirun(), "-np", std::to_string(processes),
                                 "--bind-to", "none"};
  if (processes > cores) {
    words.push_back("--oversubscribe");
  }
  words.push_back(this_program());
  const std::vector<std::string> rest = arguments(argc, argv);
  words.insert(words.end(), rest.begin(), rest.end());

  std::string line = set_default("OMP_NUM_THREADS", std::to_string(std::max(1, cores / processes)));
  if (geteuid() == 0) {  // Open MPI asks root twice
    line += set_default("OMPI_ALLOW_RUN_AS_ROOT", "1");
    line += set_default("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  }
  setenv(kGuard, std::to_string(processes).c_str(), 1);
  std::vector<char*> pointers;
  for (std::string& word : words) {
    line += shell_word(word) + " ";
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);

  // What is buffered would be lost with this process image.
  std::cout.flush();
  std::fflush(nullptr);
  if (!quiet) {
    line.back() = '\n';
    line.insert(0, "[fabric] ");
    // stderr may be closed, which is no reason to stop.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  }
  execv(pointers.front(), pointers.data());
  const int error = errno;
  unsetenv(kGuard);
  FABRIC_CHECK(Misconfiguration, false, "[fabric.launch] ", words.front(),
               " cannot be executed: ", std::strerror(error),
               ". Hint: FABRIC_MPIRUN names another mpirun.");
  __builtin_unreachable();
}

}  // namespace fabric
