# page_files.cmake: cmake -DOUT=… -DFOLDER=… -DFILES=a,b -P …: the files of the page as one C file, so that the program needs none of
# them when it runs. index.html is "/".
# SPDX-License-Identifier: Apache-2.0
set(TYPE_html "text/html; charset=utf-8")
set(TYPE_js "text/javascript; charset=utf-8")
set(TYPE_css "text/css; charset=utf-8")
set(TYPE_svg "image/svg+xml")
string(REPLACE "," ";" FILES "${FILES}")
set(arrays "")
set(rows "")
set(i 0)
foreach(file IN LISTS FILES)
  file(READ "${FOLDER}/${file}" hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n    " hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(REGEX REPLACE "^.*\\." "" end "${file}")
  if(NOT DEFINED TYPE_${end})
    message(FATAL_ERROR "configs/page/${file}: no content type is known for .${end}: add it to supervisor/page_files.cmake")
  endif()
  set(path "/${file}")
  if(file STREQUAL "index.html")
    set(path "/")
  endif()
  string(APPEND arrays "static const unsigned char file_${i}[] = {\n    ${hex}};\n")
  string(APPEND rows "    {.path = \"${path}\", .type = \"${TYPE_${end}}\", .bytes = file_${i}, .len = sizeof(file_${i})},\n")
  math(EXPR i "${i} + 1")
endforeach()
file(WRITE "${OUT}" "/* Made of configs/page by supervisor/page_files.cmake.\n * SPDX-License-Identifier: Apache-2.0 */\n"
  "#include \"supervisor/serve_health_internal.h\"\n\n${arrays}\n"
  "const struct serve_page_file serve_page_files[] = {\n${rows}};\n"
  "const size_t serve_page_files_len = sizeof(serve_page_files) / sizeof(serve_page_files[0]);\n")
