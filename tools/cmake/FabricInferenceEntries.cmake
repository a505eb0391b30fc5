# fabric_inference_entries(<target>): makes the methods marked [[fabric::inference_entry]] in the
# target's sources, and in the headers they include, entries of FabricModule. Call it after the
# target's sources, include folders and libraries are known.
#
# Nobody who marks methods with FABRIC_INFERENCE_ENTRY needs it. It asks for a Python with the wheels
# tree-sitter and tree-sitter-cpp: FABRIC_PYTHON, or the environment that tools/setup makes.
#
# The generated header is included before everything else (-include), and g++ uses a precompiled
# header only where it comes first: a target with both compiles without it.
set(FABRIC_INFERENCE_ENTRIES_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/../inference_entries.py)
if(NOT EXISTS ${FABRIC_INFERENCE_ENTRIES_SCRIPT})  # installed beside this file
  set(FABRIC_INFERENCE_ENTRIES_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/inference_entries.py)
endif()

function(fabric_inference_entries target)
  fabric_find_entries_parser(_found)
  if(NOT _found)
    message(FATAL_ERROR "fabric_inference_entries needs a Python with tree-sitter and tree-sitter-cpp; "
      "got '${FABRIC_PYTHON}'. Run tools/setup, or pip install them and pass -DFABRIC_PYTHON=. "
      "The mark FABRIC_INFERENCE_ENTRY(name) needs neither.")
  endif()
  get_target_property(_sources ${target} SOURCES)
  get_target_property(_folder ${target} SOURCE_DIR)
  set(_files)
  foreach(_source IN LISTS _sources)
    if(_source MATCHES "\\.(cpp|cc|cxx)$")
      get_filename_component(_file ${_source} ABSOLUTE BASE_DIR ${_folder})
      list(APPEND _files ${_file})
    endif()
  endforeach()
  if(NOT _files)
    message(FATAL_ERROR "fabric_inference_entries(${target}): the target has no C++ source yet; "
      "call it after add_executable, add_library and target_sources.")
  endif()

  set(_header ${CMAKE_CURRENT_BINARY_DIR}/${target}_inference_entries.h)
  # /usr/include named again would hide it from #include_next.
  set(_includes
    $<FILTER:$<REMOVE_DUPLICATES:$<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>>,EXCLUDE,^/usr/include$>)
  set(_definitions $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
  separate_arguments(_flags UNIX_COMMAND "${CMAKE_CXX_FLAGS}")
  add_custom_command(OUTPUT ${_header}
    COMMAND ${FABRIC_PYTHON} ${FABRIC_INFERENCE_ENTRIES_SCRIPT} --output ${_header}
      --depfile ${_header}.d --project ${CMAKE_SOURCE_DIR} ${_files}
      -- ${CMAKE_CXX_COMPILER} ${_flags} ${CMAKE_CXX20_STANDARD_COMPILE_OPTION}
      "$<$<BOOL:${_includes}>:-I$<JOIN:${_includes},;-I>>"
      "$<$<BOOL:${_definitions}>:-D$<JOIN:${_definitions},;-D>>"
    DEPENDS ${_files} ${FABRIC_INFERENCE_ENTRIES_SCRIPT} DEPFILE ${_header}.d
    COMMENT "Finding [[fabric::inference_entry]] of ${target}" VERBATIM COMMAND_EXPAND_LISTS)
  add_custom_target(${target}_inference_entries DEPENDS ${_header})
  add_dependencies(${target} ${target}_inference_entries)

  # Who uses a library's classes must see the same entries as the library.
  get_target_property(_type ${target} TYPE)
  set(_scope PRIVATE)
  if(_type MATCHES "LIBRARY")
    set(_scope PUBLIC)
  endif()
  target_compile_options(${target} ${_scope}
    "$<BUILD_INTERFACE:SHELL:-include ${_header}>"
    $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:GNU>:-Wno-attributes=fabric::>>
    $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wno-unknown-attributes>>)
endfunction()

# Whether there is a Python that has the parser; sets FABRIC_PYTHON.
function(fabric_find_entries_parser variable)
  set(_deps ${FABRIC_DEPS})
  if(NOT _deps)
    set(_deps $ENV{HOME}/.cache/fabric-cpp)
  endif()
  find_program(FABRIC_PYTHON NAMES python3 HINTS ${_deps}/venv/bin)
  execute_process(COMMAND ${FABRIC_PYTHON} -c "import tree_sitter, tree_sitter_cpp"
    RESULT_VARIABLE _missing OUTPUT_QUIET ERROR_QUIET)
  set(${variable} FALSE PARENT_SCOPE)
  if(_missing EQUAL 0)
    set(${variable} TRUE PARENT_SCOPE)
  endif()
endfunction()
