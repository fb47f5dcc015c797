# Read by CMake inside whisper.cpp's ggml (CMAKE_PROJECT_ggml_INCLUDE). llama-server is built with OpenMP, whose threads
# stop waiting by themselves (GOMP_SPINCOUNT): it reads ggml.cmake alone.
include(${CMAKE_CURRENT_LIST_DIR}/ggml.cmake)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT MSVC)
    add_compile_options("$<$<COMPILE_LANGUAGE:C>:SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/relax.h>")
endif()
