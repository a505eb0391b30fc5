#include <fabric/toggle.h>

#include <algorithm>
#include <set>

#include <fabric/detail/model_core.h>

namespace fabric {
namespace {

// What toggles of this thread have frozen, innermost last.
std::vector<const c10::TensorImpl*>& frozen_now() {
  thread_local std::vector<const c10::TensorImpl*> frozen;
  return frozen;
}

}  // namespace

Toggle::Toggle(const std::vector<std::shared_ptr<detail::ModelCore>>& models,
               const std::vector<at::Tensor>& own) {
  std::set<const c10::TensorImpl*> keep;
  for (const at::Tensor& parameter : own) {
    keep.insert(parameter.unsafeGetTensorImpl());
  }
  std::vector<const c10::TensorImpl*>& outer = frozen_now();
  const std::set<const c10::TensorImpl*> taken(outer.begin(), outer.end());
  for (const auto& model : models) {
    for (const at::Tensor& parameter : model->parameters) {
      const c10::TensorImpl* impl = parameter.unsafeGetTensorImpl();
      if (!keep.contains(impl) && parameter.requires_grad()) {
        frozen_.push_back(parameter);
      } else if (keep.contains(impl) && !parameter.requires_grad() && taken.contains(impl)) {
        thawed_.push_back(parameter);
      }
    }
  }
  for (const at::Tensor& parameter : frozen_) {
    parameter.set_requires_grad(false);
    outer.push_back(parameter.unsafeGetTensorImpl());
  }
  for (const at::Tensor& parameter : thawed_) {
    parameter.set_requires_grad(true);
  }
}

Toggle::~Toggle() {
  std::vector<const c10::TensorImpl*>& frozen = frozen_now();
  for (const at::Tensor& parameter : thawed_) {
    parameter.set_requires_grad(false);
  }
  for (const at::Tensor& parameter : frozen_) {
    parameter.set_requires_grad(true);
    const auto last = std::find(frozen.rbegin(), frozen.rend(), parameter.unsafeGetTensorImpl());
    if (last != frozen.rend()) {
      frozen.erase(std::next(last).base());
    }
  }
}

}  // namespace fabric
