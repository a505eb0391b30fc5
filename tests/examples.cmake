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
endif()
