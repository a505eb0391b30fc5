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

# python/<name>_test.py beside the program python/<name>_program.cpp, in a folder of its own.
function(_fabric_python_test name)
  fabric_add_program(fabric_${name}_program python/${name}_program.cpp)
  target_include_directories(fabric_${name}_program PRIVATE ${PROJECT_SOURCE_DIR})
  add_test(NAME python.${name} COMMAND ${_python} -W ignore
    ${CMAKE_CURRENT_SOURCE_DIR}/python/${name}_test.py $<TARGET_FILE:fabric_${name}_program>
    ${CMAKE_CURRENT_BINARY_DIR}/python_${name}s)
  set_tests_properties(python.${name} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77
    ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT};PYTHONDONTWRITEBYTECODE=1")
endfunction()

_fabric_python_test(python_file)
_fabric_python_test(state)
# The same options in jsonargparse; the struct is there in both languages.
_fabric_python_test(config)
# Classes by name and links.
_fabric_python_test(classes)
