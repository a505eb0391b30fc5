// The main of the tests that run under mpirun: every rank runs every test case.
//
// `--ranks=N` states how many ranks the run must have; another number fails, it never skips. Ranks
// other than 0 speak only when they failed. The verdict is the worst of all ranks. A test case that
// an exception or a REQUIRE ends on one rank leaves the others inside a collective, so it aborts.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>

#include <mpi.h>

#include <accelerators/collectives/mpi/mpi.h>

namespace {

std::ostringstream& own_output() {
  static std::ostringstream stream;
  return stream;
}

// Prefixes every line, so that the output of several ranks can be told apart.
void print_own_output() {
  if (fabric::world().rank == 0) {
    return;  // rank 0 writes to std::cout at once
  }
  std::istringstream lines(own_output().str());
  std::ostringstream text;
  for (std::string line; std::getline(lines, line);) {
    text << "[rank " << fabric::world().rank << "] " << line << '\n';
  }
  std::cerr << text.str() << std::flush;
}

class AbortWhereRanksPart : public doctest::IReporter {
 public:
  explicit AbortWhereRanksPart(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData& data) override {
    name_ = data.m_name;
    broken_ = false;
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {
    if (broken_ && fabric::world().size > 1) {
      std::cout << std::flush;
      print_own_output();
      fabric::mpi::abort_job("the test case \"" + name_ + "\" did not run to its end", 1);
    }
  }
  void test_case_exception(const doctest::TestCaseException&) override { broken_ = true; }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& data) override {
    broken_ = broken_ || (data.m_failed && (data.m_at & doctest::assertType::is_require) != 0);
  }
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  std::string name_;
  bool broken_ = false;
};

DOCTEST_REGISTER_LISTENER("abort_where_ranks_part", 1, AbortWhereRanksPart);

int expected_ranks(int argc, char** argv) {
  constexpr std::string_view kFlag = "--ranks=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, kFlag.size()) == kFlag) {
      return std::atoi(argv[i] + kFlag.size());
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const fabric::World& world = fabric::mpi::join();
  const int expected = expected_ranks(argc, argv);
  if (world.size != expected) {
    std::cerr << "rank " << world.rank << ": got a world of " << world.size
              << "; expected --ranks=" << expected << std::endl;
    return 1;
  }
  doctest::Context context;
  context.applyCommandLine(argc, argv);
  if (world.rank != 0) {
    context.setOption("no-colors", true);
    context.setCout(&own_output());
  }
  int failed = context.run() != 0;
  if (failed) {
    print_own_output();
  }
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return failed;
}
