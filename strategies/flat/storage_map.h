// What the process knows of the storages of parameters: who keeps them, and who listens to uses.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>

namespace fabric {

/// Is asked about uses of a model's parameters.
class UseListener {
 public:
  virtual ~UseListener() = default;

  /// Comes before an operator runs with a parameter among its arguments, where a gradient may flow
  /// back to it: with gradients on, outside backward and outside a RoutedScope. What it throws
  /// reaches the caller of the operator, which then does not run.
  /// @param parameter its dotted name
  /// @param operator_name "aten::linear"
  /// @returns what to do when a gradient does flow back through the operator's result, or nothing.
  ///          It may be called several times, on autograd's threads.
  virtual std::function<void()> before_use(const std::string& parameter,
                                           const std::string& operator_name) = 0;

  /// Comes before an operator writes to a parameter, or to a copy that shares its memory, outside
  /// a RoutedScope. What it throws reaches the caller of the operator, which then does not run.
  virtual void before_write(const std::string& /*parameter*/,
                            const std::string& /*operator_name*/) {}
};

/// Keeps the memory of storages that are not always there (sharded parameters).
class StorageKeeper {
 public:
  virtual ~StorageKeeper() = default;

  /// Comes before an operator reads or writes a tensor of the storage, in forward and in backward:
  /// makes its memory valid and keeps it so until `release`. What it throws reaches the caller of
  /// the operator, which then does not run.
  /// @param storage the number under which it is kept
  virtual void acquire(std::size_t storage) = 0;
  /// Comes after the operator has returned or thrown.
  virtual void release(std::size_t storage) noexcept = 0;
  /// Comes before an operator writes elements [begin, end) of the storage outside a RoutedScope.
  /// What it throws reaches the caller of the operator, which then does not run.
  virtual void before_write(std::size_t /*storage*/, std::int64_t /*begin*/, std::int64_t /*end*/,
                            const std::string& /*operator_name*/) {}
  /// Comes before `release` where the operator has written elements [begin, end) of the storage.
  virtual void written(std::size_t storage, std::int64_t begin, std::int64_t end) = 0;
  /// Comes instead where the operator has put the tensor on another storage (`set_`).
  virtual void replaced(std::size_t storage) = 0;
};

/// What is known about the storage of one tensor.
struct StorageFacts {
  std::shared_ptr<StorageKeeper> keeper;  // null where nobody keeps it
  std::size_t number = 0;                 // for the keeper
  c10::Storage unparked;                  // where its memory will be, if it is parked
  std::string name;                       // of the parameter, empty where nobody listens
  std::shared_ptr<UseListener> listener;
};

/// From storages to facts, over all models of the process. By storage, so that a view leads to its
/// parameter. All members may be called from any thread.
class StorageMap {
 public:
  static StorageMap& instance();

  /// Facts for the storage of `tensor`; all empty where there are none.
  /// @param listeners whether name and listener are wanted
  StorageFacts find(const at::Tensor& tensor, bool listeners) const;

  /// From now on `keeper` keeps `storage`, and `parked`, on which the same tensors lie while the
  /// memory is not there (null where it always is).
  void keep(const c10::StorageImpl* storage, const c10::StorageImpl* parked,
            std::weak_ptr<StorageKeeper> keeper, std::size_t number);
  /// From now on `listener` is asked about uses of `parameter`, a part of its storage.
  void listen(const at::Tensor& parameter, const std::string& name,
              std::weak_ptr<UseListener> listener);
  /// Forgets everything about a storage.
  void forget_keeper(const c10::StorageImpl* storage, const c10::StorageImpl* parked);
  void forget_listener(const c10::StorageImpl* storage);

 private:
  StorageMap();
  ~StorageMap() = delete;  // graphs may end after static objects

  struct Content;
  Content& content_;
};

/// The storage of a tensor, null for tensors without one.
const c10::StorageImpl* storage_of(const at::Tensor& tensor);

}  // namespace fabric
