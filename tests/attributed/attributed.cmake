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
