#include <strategies/flat/storage_map.h>

#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace fabric {
namespace {

struct Named {
  std::string name;
  std::weak_ptr<UseListener> listener;
};

struct Known {
  std::weak_ptr<StorageKeeper> keeper;
  bool kept = false;
  std::size_t number = 0;
  std::map<std::int64_t, Named> names;  // by the offset at which a parameter begins
};

}  // namespace

struct StorageMap::Content {
  mutable std::mutex mutex;
  std::unordered_map<const c10::StorageImpl*, Known> of_storage;
  // Where tensors lie while the memory of their storage is not there.
  std::unordered_map<const c10::StorageImpl*, const c10::StorageImpl*> unparked;

  const c10::StorageImpl* main(const c10::StorageImpl* storage) const {
    const auto found = unparked.find(storage);
    return found == unparked.end() ? storage : found->second;
  }
};

StorageMap::StorageMap() : content_(*new Content) {}

StorageMap& StorageMap::instance() {
  static StorageMap& map = *new StorageMap;
  return map;
}

StorageFacts StorageMap::find(const at::Tensor& tensor, bool listeners) const {
  StorageFacts facts;
  const c10::StorageImpl* storage = storage_of(tensor);
  const std::lock_guard lock(content_.mutex);
  const c10::StorageImpl* main = content_.main(storage);
  const auto found = content_.of_storage.find(main);
  if (found == content_.of_storage.end()) {
    return facts;
  }
  const Known& known = found->second;
  if (known.kept) {
    facts.keeper = known.keeper.lock();
    facts.number = known.number;
    if (main != storage && facts.keeper) {  // which keeps it alive
      facts.unparked = c10::Storage(
          c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(const_cast<c10::StorageImpl*>(main)));
    }
  }
  if (listeners && !known.names.empty()) {
    auto next = known.names.upper_bound(tensor.storage_offset());
    const Named& named = next == known.names.begin() ? next->second : std::prev(next)->second;
    facts.name = named.name;
    facts.listener = named.listener.lock();
  }
  return facts;
}

void StorageMap::keep(const c10::StorageImpl* storage, const c10::StorageImpl* parked,
                      std::weak_ptr<StorageKeeper> keeper, std::size_t number) {
  const std::lock_guard lock(content_.mutex);
  Known& known = content_.of_storage[storage];
  known.keeper = std::move(keeper);
  known.kept = true;
  known.number = number;
  if (parked != nullptr) {
    content_.unparked[parked] = storage;
  }
}

void StorageMap::listen(const at::Tensor& parameter, const std::string& name,
                        std::weak_ptr<UseListener> listener) {
  const std::lock_guard lock(content_.mutex);
  content_.of_storage[content_.main(storage_of(parameter))].names[parameter.storage_offset()] = {
      name, std::move(listener)};
}

void StorageMap::forget_keeper(const c10::StorageImpl* storage, const c10::StorageImpl* parked) {
  const std::lock_guard lock(content_.mutex);
  content_.of_storage.erase(storage);
  content_.unparked.erase(parked);
}

void StorageMap::forget_listener(const c10::StorageImpl* storage) {
  const std::lock_guard lock(content_.mutex);
  const auto found = content_.of_storage.find(content_.main(storage));
  if (found == content_.of_storage.end()) {
    return;
  }
  found->second.names.clear();
  if (!found->second.kept) {
    content_.of_storage.erase(found);
  }
}

const c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

}  // namespace fabric
