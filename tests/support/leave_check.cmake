# Runs COMMAND (a list) and checks how it ends.
#   STATUS  "0", another number, or "nonzero"
#   TEXT    a regular expression that the output must match; "" means stderr must be empty
#   LIMIT   seconds it may take
string(TIMESTAMP _begin "%s")
execute_process(COMMAND ${COMMAND} TIMEOUT ${LIMIT}
  RESULT_VARIABLE _status OUTPUT_VARIABLE _out ERROR_VARIABLE _err)
string(TIMESTAMP _end "%s")
math(EXPR _seconds "${_end} - ${_begin}")
message(STATUS "status ${_status} after ${_seconds} s\n${_out}${_err}")
if(_status MATCHES "timeout")
  message(FATAL_ERROR "did not end within ${LIMIT} s")
endif()
if(STATUS STREQUAL "nonzero")
  if(_status EQUAL 0)
    message(FATAL_ERROR "ended with status 0; expected another")
  endif()
elseif(NOT _status STREQUAL STATUS)
  message(FATAL_ERROR "ended with status ${_status}; expected ${STATUS}")
endif()
if(TEXT STREQUAL "")
  if(NOT _err STREQUAL "")
    message(FATAL_ERROR "wrote to stderr; expected nothing")
  endif()
elseif(NOT "${_out}${_err}" MATCHES "${TEXT}")
  message(FATAL_ERROR "the output does not match: ${TEXT}")
endif()
