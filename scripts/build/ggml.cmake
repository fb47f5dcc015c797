# Read by CMake inside ggml's project (CMAKE_PROJECT_ggml_INCLUDE), in llama.cpp and in whisper.cpp.
# See amx.h: without it a ggml compiled by GCC crashes on processors with AMX.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/amx.h>")
endif()
