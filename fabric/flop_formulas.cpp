#include <fabric/detail/flop_formulas.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace fabric::detail {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;

std::int64_t product(c10::IntArrayRef sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

at::Tensor tensor(Inputs inputs, std::size_t index) {
  return index < inputs.size() && inputs[index].isTensor() ? inputs[index].toTensor()
                                                           : at::Tensor();
}

std::vector<std::int64_t> integers(Inputs inputs, std::size_t index) {
  return index < inputs.size() && inputs[index].isIntList() ? inputs[index].toIntVector()
                                                            : std::vector<std::int64_t>();
}

bool flag(Inputs inputs, std::size_t index) {
  return index < inputs.size() && inputs[index].isBool() && inputs[index].toBool();
}

// ---- products -----------------------------------------------------------------------------------

// (…, m, k) times (…, k, n), or (k): every element of the left one meets each of n columns.
std::int64_t times(const at::Tensor& left, const at::Tensor& right) {
  if (!left.defined() || !right.defined()) {
    return 0;
  }
  return 2 * left.numel() * (right.dim() < 2 ? 1 : right.size(-1));
}
template <std::size_t kFirst>
std::int64_t matrices(Inputs inputs) {
  return times(tensor(inputs, kFirst), tensor(inputs, kFirst + 1));
}
// By a weight of (outputs, inputs).
std::int64_t linear(Inputs inputs) {
  const at::Tensor x = tensor(inputs, 0);
  const at::Tensor weight = tensor(inputs, 1);
  return x.defined() && weight.defined() ? 2 * x.numel() * weight.size(0) : 0;
}

// ---- convolutions -------------------------------------------------------------------------------

std::int64_t convolve(c10::IntArrayRef x, c10::IntArrayRef weight, c10::IntArrayRef out,
                      bool transposed) {
  return 2 * x[0] * product((transposed ? x : out).slice(2)) * product(weight);
}

std::vector<std::int64_t> swapped(c10::IntArrayRef sizes) {
  std::vector<std::int64_t> result = sizes.vec();
  std::swap(result[0], result[1]);
  return result;
}

// (input, weight, bias, stride, padding, dilation, transposed, …)
std::int64_t convolution(Inputs inputs) {
  const at::Tensor x = tensor(inputs, 0);
  const at::Tensor weight = tensor(inputs, 1);
  if (!x.defined() || !weight.defined() || x.dim() != weight.dim()) {
    return 0;
  }
  const auto stride = integers(inputs, 3);
  const auto padding = integers(inputs, 4);
  const auto dilation = integers(inputs, 5);
  const auto at = [](const std::vector<std::int64_t>& list, std::int64_t i, std::int64_t other) {
    return list.empty() ? other : list[std::min<std::size_t>(i, list.size() - 1)];
  };
  std::vector<std::int64_t> out = x.sizes().vec();
  for (std::int64_t i = 0; i + 2 < x.dim(); ++i) {
    const std::int64_t reach = at(dilation, i, 1) * (weight.size(i + 2) - 1) + 1;
    out[i + 2] = (x.size(i + 2) + 2 * at(padding, i, 0) - reach) / at(stride, i, 1) + 1;
  }
  return convolve(x.sizes(), weight.sizes(), out, flag(inputs, 6));
}

// (grad_output, input, weight, bias_sizes, stride, padding, dilation, transposed, output_padding,
// groups, output_mask)
std::int64_t convolution_backward(Inputs inputs) {
  const at::Tensor out = tensor(inputs, 0);
  const at::Tensor x = tensor(inputs, 1);
  const at::Tensor weight = tensor(inputs, 2);
  if (!out.defined() || !x.defined() || !weight.defined() || inputs.size() < 11) {
    return 0;
  }
  const bool transposed = flag(inputs, 7);
  const auto mask = inputs[10].toBoolList();
  std::int64_t flops = 0;
  if (mask[0]) {
    flops += convolve(out.sizes(), weight.sizes(), x.sizes(), !transposed);
  }
  if (mask[1]) {
    flops +=
        transposed
            ? convolve(swapped(out.sizes()), swapped(x.sizes()), swapped(weight.sizes()), false)
            : convolve(swapped(x.sizes()), swapped(out.sizes()), swapped(weight.sizes()), false);
  }
  return flops;
}

// ---- attention ----------------------------------------------------------------------------------

// Queries (b, h, s, d), keys (b, h', t, d), values (b, h', t, e).
template <std::size_t kQuery>
std::int64_t attend(Inputs inputs, std::int64_t with_keys, std::int64_t with_values) {
  const at::Tensor query = tensor(inputs, kQuery);
  const at::Tensor key = tensor(inputs, kQuery + 1);
  const at::Tensor value = tensor(inputs, kQuery + 2);
  if (!query.defined() || !key.defined() || !value.defined()) {
    return 0;
  }
  const std::int64_t scores =
      query.numel() / std::max<std::int64_t>(1, query.size(-1)) * key.size(-2);
  return 2 * scores * (with_keys * query.size(-1) + with_values * value.size(-1));
}
std::int64_t attention(Inputs inputs) {
  return attend<0>(inputs, 1, 1);
}
// Scores again, gradients of queries and keys; of scores and values.
std::int64_t attention_backward(Inputs inputs) {
  return attend<1>(inputs, 3, 2);
}

// ---- recurrent kernels --------------------------------------------------------------------------

// Each step multiplies its row with all weight matrices.
std::int64_t recurrent(const at::Tensor& input, const std::vector<at::Tensor>& weights) {
  std::int64_t elements = 0;
  for (const at::Tensor& weight : weights) {
    elements += weight.defined() && weight.dim() == 2 ? weight.numel() : 0;
  }
  return input.defined() ? 2 * input.numel() / std::max<std::int64_t>(1, input.size(-1)) * elements
                         : 0;
}
// (input, weight of the input, weight of the state, …), one layer
std::int64_t onednn_layer(Inputs inputs) {
  return recurrent(tensor(inputs, 0), {tensor(inputs, 1), tensor(inputs, 2)});
}
std::int64_t onednn_layer_backward(Inputs inputs) {
  return 2 * onednn_layer(inputs);
}
// (input, weights, …)
std::int64_t cudnn_layers(Inputs inputs) {
  return inputs.size() > 1 && inputs[1].isTensorList()
             ? recurrent(tensor(inputs, 0), inputs[1].toTensorVector())
             : 0;
}
std::int64_t cudnn_layers_backward(Inputs inputs) {
  return 2 * cudnn_layers(inputs);
}

}  // namespace

FlopFormula flop_formula_of(std::string_view name) {
  static const std::unordered_map<std::string_view, FlopFormula> formulas = {
      {"aten::mm", matrices<0>},
      {"aten::bmm", matrices<0>},
      {"aten::mv", matrices<0>},
      {"aten::dot", matrices<0>},
      {"aten::vdot", matrices<0>},
      {"aten::_int_mm", matrices<0>},
      {"aten::_scaled_mm", matrices<0>},
      {"aten::addmm", matrices<1>},
      {"aten::addmm_", matrices<1>},
      {"aten::_addmm_activation", matrices<1>},
      {"aten::addmv", matrices<1>},
      {"aten::addmv_", matrices<1>},
      {"aten::addbmm", matrices<1>},
      {"aten::addbmm_", matrices<1>},
      {"aten::baddbmm", matrices<1>},
      {"aten::baddbmm_", matrices<1>},
      {"aten::mkldnn_linear", linear},
      {"aten::convolution", convolution},
      {"aten::_convolution", convolution},
      {"aten::convolution_overrideable", convolution},
      {"aten::convolution_backward", convolution_backward},
      {"aten::_scaled_dot_product_flash_attention", attention},
      {"aten::_scaled_dot_product_flash_attention_for_cpu", attention},
      {"aten::_scaled_dot_product_efficient_attention", attention},
      {"aten::_scaled_dot_product_cudnn_attention", attention},
      {"aten::_scaled_dot_product_flash_attention_backward", attention_backward},
      {"aten::_scaled_dot_product_flash_attention_for_cpu_backward", attention_backward},
      {"aten::_scaled_dot_product_efficient_attention_backward", attention_backward},
      {"aten::_scaled_dot_product_cudnn_attention_backward", attention_backward},
      {"aten::mkldnn_rnn_layer", onednn_layer},
      {"aten::mkldnn_rnn_layer_backward", onednn_layer_backward},
      {"aten::_cudnn_rnn", cudnn_layers},
      {"aten::_cudnn_rnn_backward", cudnn_layers_backward},
  };
  const auto found = formulas.find(name);
  return found == formulas.end() ? nullptr : found->second;
}

}  // namespace fabric::detail
