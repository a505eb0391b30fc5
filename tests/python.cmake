# Round trips between Python's own readers and writers and ours. Without PyTorch in the Python that is
# found, they say so and are skipped.
set(_deps $ENV{FABRIC_DEPS})
if(NOT _deps)
  set(_deps $ENV{HOME}/.cache/fabric-cpp)
endif()
set(_python $ENV{FABRIC_PYTHON})
if(NOT _python)
  set(_python ${_deps}/venv/bin/python)
endif()
if(NOT EXISTS ${_python})
  find_program(FABRIC_TEST_PYTHON python3 REQUIRED)
  set(_python ${FABRIC_TEST_PYTHON})
endif()

fabric_add_program(fabric_python_file_program python/python_file_program.cpp)
target_include_directories(fabric_python_file_program PRIVATE ${PROJECT_SOURCE_DIR})
add_test(NAME python.python_file COMMAND ${_python} -W ignore
  ${CMAKE_CURRENT_SOURCE_DIR}/python/python_file_test.py $<TARGET_FILE:fabric_python_file_program>
  ${CMAKE_CURRENT_BINARY_DIR}/python_files)
set_tests_properties(python.python_file PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77
  ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT};PYTHONDONTWRITEBYTECODE=1")

fabric_add_program(fabric_state_program python/state_program.cpp)
target_include_directories(fabric_state_program PRIVATE ${PROJECT_SOURCE_DIR})
add_test(NAME python.state COMMAND ${_python} -W ignore
  ${CMAKE_CURRENT_SOURCE_DIR}/python/state_test.py $<TARGET_FILE:fabric_state_program>
  ${CMAKE_CURRENT_BINARY_DIR}/python_states)
set_tests_properties(python.state PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77
  ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT};PYTHONDONTWRITEBYTECODE=1")

# The same options in jsonargparse; the struct is there in both languages.
fabric_add_program(fabric_config_program python/config_program.cpp)
add_test(NAME python.config COMMAND ${_python} -W ignore
  ${CMAKE_CURRENT_SOURCE_DIR}/python/config_test.py $<TARGET_FILE:fabric_config_program>
  ${CMAKE_CURRENT_BINARY_DIR}/python_configs)
set_tests_properties(python.config PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77
  ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT};PYTHONDONTWRITEBYTECODE=1")

# Classes by name and links.
fabric_add_program(fabric_classes_program python/classes_program.cpp)
add_test(NAME python.classes COMMAND ${_python} -W ignore
  ${CMAKE_CURRENT_SOURCE_DIR}/python/classes_test.py $<TARGET_FILE:fabric_classes_program>
  ${CMAKE_CURRENT_BINARY_DIR}/python_classes)
set_tests_properties(python.classes PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77
  ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT};PYTHONDONTWRITEBYTECODE=1")
