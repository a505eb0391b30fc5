// The methods of somebody else's TorchScript model, called by name through the strategy: the
// silero-vad speech detector, whose file has `forward`, `audio_forward` and `reset_states`.
//
//     ./third_party_entries silero_vad.jit
#include <iostream>

#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;

constexpr int64_t kRate = 16000;  // samples a second

// One second of silence and one of a vowel: a fundamental of 120 Hz with formants.
Tensor silence_then_vowel() {
  const Tensor time = torch::arange(kRate) / double(kRate);
  Tensor vowel = torch::zeros({kRate});
  for (int harmonic = 1; harmonic <= 30; ++harmonic) {
    const double pitch = 120.0 * harmonic;
    double gain = 0;
    for (const double formant : {700.0, 1200.0, 2600.0}) {
      gain += std::exp(-std::pow((pitch - formant) / 200, 2));
    }
    const Tensor vibrato = 0.4 * torch::sin(2 * M_PI * 5 * time);
    vowel += gain * torch::sin(2 * M_PI * pitch * time + harmonic * vibrato);
  }
  vowel *= 0.3 * (0.6 + 0.4 * torch::sin(2 * M_PI * 4 * time));  // syllables
  return torch::cat({torch::zeros({kRate}), vowel.to(torch::kFloat)}).unsqueeze(0);
}

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: third_party_entries silero_vad.jit\n";
    return 2;
  }
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  auto model = fabric.setup(torch::jit::load(argv[1]));
  auto reset = model.register_forward_method("reset_states");
  model.register_forward_method("audio_forward", {.grad = "off", .mode = "eval"});
  for (const fabric::Entry& entry : model.entries()) {
    fabric.print(fabric::to_text(entry.origin), "  ", entry.name);
  }

  // The whole recording at once, and chunk by chunk as it would arrive: the same probabilities.
  const Tensor audio = silence_then_vowel();
  const Tensor at_once = model.run_method("audio_forward", {audio, kRate}).toTensor();
  reset();
  std::vector<Tensor> streamed;
  const torch::NoGradGuard no_grad;
  for (int64_t start = 0; start + 512 <= audio.size(1); start += 512) {
    streamed.push_back(model(audio.narrow(1, start, 512), kRate).toTensor());
  }
  const Tensor stream = torch::cat(streamed, 1);
  const Tensor difference = (at_once.narrow(1, 0, stream.size(1)) - stream).abs().max();
  fabric.print("chunks ", at_once.size(1), ", speech probability in silence ",
               at_once.narrow(1, 5, 20).mean().item<float>(), ", in the vowel ",
               at_once.narrow(1, 36, 20).max().item<float>());
  fabric.print("streamed and at once differ by ", difference.item<float>());
}
