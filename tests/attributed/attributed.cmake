# The attribute: a program of its own, since the generated header belongs to a target.
fabric_find_entries_parser(_parser)
if(NOT _parser)
  message(STATUS "unit.attributed is left out: tools/setup brings the parser of the attribute")
  return()
endif()
fabric_add_program(fabric_attributed_tests attributed/attributed_test.cpp)
target_include_directories(fabric_attributed_tests PRIVATE ${DOCTEST_INCLUDE_DIR} ${PROJECT_SOURCE_DIR})
fabric_inference_entries(fabric_attributed_tests)
add_test(NAME unit.attributed COMMAND fabric_attributed_tests)
set_tests_properties(unit.attributed PROPERTIES TIMEOUT 120 ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}")
add_test(NAME unit.attributed.refused COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/attributed/bad_attributes.sh
  ${FABRIC_PYTHON} ${FABRIC_INFERENCE_ENTRIES_SCRIPT} ${CMAKE_CXX_COMPILER})
set_tests_properties(unit.attributed.refused PROPERTIES TIMEOUT 120)

# clang, whose names of classes differ, and which must be as silent.
if(FABRIC_CLANG AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  _fabric_compile_command(_compile ${FABRIC_CLANG} -include-pch ${CMAKE_CURRENT_BINARY_DIR}/clang.pch)
  add_test(NAME compile_fail.clang.attributed COMMAND ${_compile} -fsyntax-only -Wall -Wextra -Werror
    -Wno-unknown-attributes -include ${CMAKE_CURRENT_BINARY_DIR}/fabric_attributed_tests_inference_entries.h
    ${CMAKE_CURRENT_SOURCE_DIR}/attributed/attributed_test.cpp)
  set_tests_properties(compile_fail.clang.attributed PROPERTIES TIMEOUT 120 FIXTURES_REQUIRED clang_pch)
endif()
