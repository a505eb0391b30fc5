// A module with 300 marks, for the limits of the mark.
#pragma once

#include <torch/torch.h>

#include <fabric/inference_entry.h>

namespace support {

#define SUPPORT_MARK(NUMBER)             \
  FABRIC_INFERENCE_ENTRY(entry_##NUMBER) \
  int entry_##NUMBER() const {           \
    return 1##NUMBER - 1000;             \
  }
// clang-format off
#define SUPPORT_TEN_MARKS(TENS)                                                                 \
  SUPPORT_MARK(TENS##0) SUPPORT_MARK(TENS##1) SUPPORT_MARK(TENS##2)                             \
  SUPPORT_MARK(TENS##3) SUPPORT_MARK(TENS##4) SUPPORT_MARK(TENS##5)                             \
  SUPPORT_MARK(TENS##6) SUPPORT_MARK(TENS##7) SUPPORT_MARK(TENS##8)                             \
  SUPPORT_MARK(TENS##9)
#define SUPPORT_HUNDRED_MARKS(HUNDREDS)                                                         \
  SUPPORT_TEN_MARKS(HUNDREDS##0) SUPPORT_TEN_MARKS(HUNDREDS##1) SUPPORT_TEN_MARKS(HUNDREDS##2)  \
  SUPPORT_TEN_MARKS(HUNDREDS##3) SUPPORT_TEN_MARKS(HUNDREDS##4) SUPPORT_TEN_MARKS(HUNDREDS##5)  \
  SUPPORT_TEN_MARKS(HUNDREDS##6) SUPPORT_TEN_MARKS(HUNDREDS##7) SUPPORT_TEN_MARKS(HUNDREDS##8)  \
  SUPPORT_TEN_MARKS(HUNDREDS##9)
// clang-format on

struct ManyMarks : torch::nn::Module {
  SUPPORT_HUNDRED_MARKS(0)
  SUPPORT_HUNDRED_MARKS(1)
  SUPPORT_HUNDRED_MARKS(2)
};

#undef SUPPORT_HUNDRED_MARKS
#undef SUPPORT_TEN_MARKS
#undef SUPPORT_MARK

}  // namespace support
