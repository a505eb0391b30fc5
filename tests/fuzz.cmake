# Readers of files under input that nobody would write. A reader takes part with two things:
# fuzz/<reader>_target.cpp and inputs in fuzz/corpus/<reader>/ (made by fuzz/corpus/make*.py, or found).
#
# Test fuzz.<reader>: all inputs and mutations of each, in every build. With -DFABRIC_FUZZ=ON (clang,
# the preset fuzz) there is fabric_fuzzer_<reader>, which looks for inputs itself:
#
#     build/fuzz/tests/fabric_fuzzer_pickle -max_total_time=600 new/ tests/fuzz/corpus/pickle
function(fabric_fuzz_target reader mutations)
  fabric_add_program(fabric_fuzz_${reader} fuzz/${reader}_target.cpp fuzz/check.cpp fuzz/driver.cpp)
  target_include_directories(fabric_fuzz_${reader} PRIVATE ${PROJECT_SOURCE_DIR})
  add_test(NAME fuzz.${reader}
    COMMAND fabric_fuzz_${reader} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${reader} ${mutations})
  set_tests_properties(fuzz.${reader} PROPERTIES TIMEOUT 300 ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}")
  if(FABRIC_FUZZ)
    fabric_add_program(fabric_fuzzer_${reader}
      fuzz/${reader}_target.cpp fuzz/check.cpp fuzz/libfuzzer.cpp)
    target_include_directories(fabric_fuzzer_${reader} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_options(fabric_fuzzer_${reader} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()

fabric_fuzz_target(config_arguments 1500)
fabric_fuzz_target(config_yaml 3000)
fabric_fuzz_target(dcp 1500)
fabric_fuzz_target(json 3000)
fabric_fuzz_target(pickle 1500)
fabric_fuzz_target(python_file 700)
fabric_fuzz_target(safetensors 3000)
fabric_fuzz_target(zip 1500)
