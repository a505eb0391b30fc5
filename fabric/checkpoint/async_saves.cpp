#include <fabric/checkpoint/async_saves.h>

#include <string>

#include <accelerators/logging.h>
#include <fabric/checkpoint/agreement.h>
#include <fabric/checkpoint/io/blobs.h>

namespace fabric::detail {

struct AsyncSaves::Save {
  std::shared_ptr<Snapshot> snapshot;
  std::function<void()> work;
  std::exception_ptr error;
};

AsyncSaves::~AsyncSaves() {
  if (!under_way_) {
    return;
  }
  if (std::uncaught_exceptions() > exceptions_at_birth_) {
    thread_.detach();  // has all it needs; the job ends
    return;
  }
  if (const std::exception_ptr error = join()) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& what) {
      log_warning(str("[fabric.save] the last save beside the program failed: ", what.what(),
                      " Hint: fabric.wait_for_saves() at the end throws it."));
    }
  }
}

void AsyncSaves::start(std::shared_ptr<Snapshot> snapshot, std::function<void()> work) {
  save_ = std::make_shared<Save>(Save{std::move(snapshot), std::move(work), nullptr});
  under_way_ = true;
  thread_ = std::thread([save = save_] {
    const BesideProgram beside;
    save->error = attempt(save->work);
    save->work = nullptr;  // what it has kept goes on this thread
  });
}

std::exception_ptr AsyncSaves::join() {
  thread_.join();
  under_way_ = false;
  const std::exception_ptr error = save_->error;
  save_.reset();
  return error;
}

void AsyncSaves::finish(const StateJob& job) {
  if (under_way_) {
    agree_on(job, join());
  }
}

}  // namespace fabric::detail
