// raw.cpp ported in full: routed calls, a marked evaluation entry, sums over ranks, one voice.
#include <fabric/fabric.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <string>

constexpr int64_t kTrainBatchSize = 64;
constexpr int64_t kTestBatchSize = 1000;
constexpr size_t kLogInterval = 100;

struct Score {
  double loss = 0;
  int64_t correct = 0;
};

struct Net : torch::nn::Module {
  Net()
      : conv1(register_module("conv1", torch::nn::Conv2d(1, 16, 3))),
        conv2(register_module("conv2", torch::nn::Conv2d(16, 32, 3))),
        fc1(register_module("fc1", torch::nn::Linear(800, 128))),
        fc2(register_module("fc2", torch::nn::Linear(128, 10))) {}

  torch::Tensor forward(torch::Tensor x) {
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    x = torch::relu(fc1(x.flatten(1)));
    return torch::log_softmax(fc2(torch::dropout(x, 0.25, is_training())), 1);
  }

  FABRIC_INFERENCE_ENTRY(evaluation_step)
  Score evaluation_step(torch::Tensor data, torch::Tensor targets) {
    auto output = forward(data);
    auto loss = torch::nll_loss(output, targets, {}, torch::Reduction::Sum);
    return {loss.item<double>(), output.argmax(1).eq(targets).sum().item<int64_t>()};
  }

  torch::nn::Conv2d conv1, conv2;
  torch::nn::Linear fc1, fc2;
};

template <typename DataLoader>
void train(size_t epoch, fabric::Fabric& fabric, fabric::FabricModule<Net> model,
           DataLoader& data_loader, torch::optim::Optimizer& optimizer) {
  model.train();
  const auto start = std::chrono::steady_clock::now();
  double loss_sum = 0;
  size_t samples = 0, batches = 0;
  for (auto& batch : data_loader) {
    auto data = batch.data, targets = batch.target;
    optimizer.zero_grad();
    auto output = model.forward(data);
    auto loss = torch::nll_loss(output, targets);
    fabric.backward(loss);
    optimizer.step();
    loss_sum += loss.template item<double>();
    samples += data.size(0);
    if (++batches % kLogInterval == 0) {
      fabric.printf("\rtrain epoch %zu  seen %6zu  loss %.4f", epoch, samples, loss_sum / batches);
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fabric.printf("\rtrain epoch %zu  loss %.4f  %.0f samples/s             \n", epoch,
                fabric.mean(loss_sum / batches), fabric.sum(samples / seconds.count()));
}

template <typename DataLoader>
double test(fabric::Fabric& fabric, fabric::FabricModule<Net> model, DataLoader& data_loader,
            size_t dataset_size) {
  torch::NoGradGuard no_grad;
  model.eval();
  Score total;
  for (const auto& batch : data_loader) {
    const Score score = model.evaluation_step(batch.data, batch.target);
    total.loss += score.loss;
    total.correct += score.correct;
  }
  total = fabric.sum(total);
  const double accuracy = static_cast<double>(total.correct) / dataset_size;
  fabric.printf("test   loss %.4f  accuracy %.4f\n", total.loss / dataset_size, accuracy);
  return accuracy;
}

int main(int argc, char* argv[]) {
  const std::string data_root = argc > 1 ? argv[1] : "data";
  const size_t epochs = argc > 2 ? std::stoul(argv[2]) : 5;
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  torch::manual_seed(1);

  auto model = fabric.setup(std::make_shared<Net>());

  auto train_dataset = torch::data::datasets::MNIST(data_root)
                           .map(torch::data::transforms::Normalize<>(0.2860, 0.3530))
                           .map(torch::data::transforms::Stack<>());
  auto train_loader = fabric.make_data_loader<torch::data::samplers::RandomSampler>(
      std::move(train_dataset), kTrainBatchSize);

  auto test_dataset =
      torch::data::datasets::MNIST(data_root, torch::data::datasets::MNIST::Mode::kTest)
          .map(torch::data::transforms::Normalize<>(0.2860, 0.3530))
          .map(torch::data::transforms::Stack<>());
  const size_t test_size = test_dataset.size().value();
  auto test_loader = fabric.make_data_loader<torch::data::samplers::SequentialSampler>(
      std::move(test_dataset), {.batch_size = kTestBatchSize, .tail = fabric::Tail::exact});

  torch::optim::SGD optimizer(model.parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  torch::optim::StepLR schedule(optimizer, /*step_size=*/1, /*gamma=*/0.7);

  double accuracy = 0;
  for (size_t epoch = 1; epoch <= epochs; ++epoch) {
    train(epoch, fabric, model, *train_loader, optimizer);
    accuracy = test(fabric, model, *test_loader, test_size);
    schedule.step();
  }
  fabric.printf("accuracy %.4f\n", accuracy);
}
