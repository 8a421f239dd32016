"""The tables behind the embedded base model: facts in families, and the words its stories are made of.

Data only; ``embedded_corpus`` turns it into text. Everything here was written for this project.
"""

from __future__ import annotations

# Families of facts: name -> (sentence, questions, rows). "{k}"/"{v}": key and value of a row "key=value"; "{ak}"/"{av}":
# the same with "a" or "an"; "{there}": "minutes are there in an hour". Rows are separated by ";".
FAMILIES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "capital": (
        "The capital of {k} is {v}.",
        ("What is the capital of {k}?", "What is {k}'s capital?", "Name the capital of {k}.",
         "Which city is the capital of {k}?", "Tell me the capital city of {k}.", "What's the capital of {k}?",
         "Do you know the capital of {k}?", "What is the capital city of {k}?"),
        "France=Paris;Germany=Berlin;Italy=Rome;Spain=Madrid;Portugal=Lisbon;Austria=Vienna;Greece=Athens;"
        "Poland=Warsaw;Hungary=Budapest;Sweden=Stockholm;Norway=Oslo;Finland=Helsinki;Denmark=Copenhagen;"
        "Ireland=Dublin;Iceland=Reykjavik;Belgium=Brussels;Croatia=Zagreb;Serbia=Belgrade;Romania=Bucharest;"
        "Bulgaria=Sofia;Estonia=Tallinn;Latvia=Riga;Lithuania=Vilnius;Ukraine=Kyiv;Russia=Moscow;Turkey=Ankara;"
        "Egypt=Cairo;Kenya=Nairobi;Morocco=Rabat;Nigeria=Abuja;Ghana=Accra;Ethiopia=Addis Ababa;Senegal=Dakar;"
        "Japan=Tokyo;China=Beijing;India=New Delhi;Thailand=Bangkok;Vietnam=Hanoi;Indonesia=Jakarta;"
        "South Korea=Seoul;Mongolia=Ulaanbaatar;Nepal=Kathmandu;Iran=Tehran;Iraq=Baghdad;Jordan=Amman;"
        "Canada=Ottawa;Mexico=Mexico City;Cuba=Havana;Brazil=Brasilia;Argentina=Buenos Aires;Chile=Santiago;"
        "Peru=Lima;Colombia=Bogota;Ecuador=Quito;Uruguay=Montevideo;Venezuela=Caracas;Australia=Canberra;"
        "New Zealand=Wellington;Fiji=Suva;England=London;Scotland=Edinburgh;Wales=Cardiff;the Netherlands=Amsterdam"),
    "country": (
        "The city of {k} is in {v}.",
        ("In which country is {k}?", "Which country is {k} in?", "Where is the city of {k}?",
         "What country does {k} belong to?", "Tell me the country where {k} lies.", "The city of {k} is in which country?"),
        "Paris=France;Berlin=Germany;Rome=Italy;Madrid=Spain;Lisbon=Portugal;Vienna=Austria;Athens=Greece;"
        "Warsaw=Poland;Oslo=Norway;Dublin=Ireland;Moscow=Russia;Cairo=Egypt;Nairobi=Kenya;Tokyo=Japan;"
        "Beijing=China;Bangkok=Thailand;Hanoi=Vietnam;Seoul=South Korea;Ottawa=Canada;Havana=Cuba;Lima=Peru;"
        "Quito=Ecuador;Canberra=Australia;Munich=Germany;Venice=Italy;Barcelona=Spain;Lyon=France;Kyoto=Japan;"
        "Milan=Italy;Hamburg=Germany;Mumbai=India;Sydney=Australia;Toronto=Canada;Shanghai=China;London=England"),
    "continent": (
        "The continent of {k} is {v}.",
        ("On which continent is {k}?", "Which continent is {k} on?", "What continent is {k} part of?",
         "Tell me the continent of {k}.", "Name the continent where {k} lies.", "To which continent does {k} belong?"),
        "France=Europe;Germany=Europe;Italy=Europe;Spain=Europe;Poland=Europe;Sweden=Europe;Norway=Europe;"
        "Greece=Europe;Ireland=Europe;Egypt=Africa;Kenya=Africa;Morocco=Africa;Nigeria=Africa;Ghana=Africa;"
        "Ethiopia=Africa;Senegal=Africa;Japan=Asia;China=Asia;India=Asia;Thailand=Asia;Vietnam=Asia;Nepal=Asia;"
        "Mongolia=Asia;Iran=Asia;Canada=North America;Mexico=North America;Cuba=North America;"
        "Brazil=South America;Argentina=South America;Chile=South America;Peru=South America;"
        "Colombia=South America;Ecuador=South America"),
    "language": (
        "People in {k} speak {v}.",
        ("What language do people speak in {k}?", "Which language is spoken in {k}?", "What do people speak in {k}?",
         "What is the language of {k}?", "Tell me the language of {k}.", "Name the language people use in {k}."),
        "France=French;Germany=German;Austria=German;Italy=Italian;Spain=Spanish;Mexico=Spanish;Chile=Spanish;"
        "Peru=Spanish;Argentina=Spanish;Portugal=Portuguese;Brazil=Portuguese;Greece=Greek;Poland=Polish;"
        "Hungary=Hungarian;Sweden=Swedish;Norway=Norwegian;Finland=Finnish;Denmark=Danish;Russia=Russian;"
        "Turkey=Turkish;Egypt=Arabic;Morocco=Arabic;Japan=Japanese;China=Chinese;Vietnam=Vietnamese;Thailand=Thai;"
        "South Korea=Korean;England=English;Australia=English;the Netherlands=Dutch;Iceland=Icelandic"),
    "sound": (
        "{ak} says {v}.",
        ("What sound does {ak} make?", "What does {ak} say?", "Which sound does {ak} make?", "How does {ak} sound?",
         "Tell me the sound of {ak}.", "What noise does {ak} make?", "Name the sound that {ak} makes."),
        "cow=moo;dog=woof;cat=meow;sheep=baa;duck=quack;pig=oink;horse=neigh;rooster=cock-a-doodle-doo;owl=hoot;"
        "frog=croak;bee=buzz;snake=hiss;lion=roar;mouse=squeak;chick=cheep;donkey=hee-haw;crow=caw;turkey=gobble;"
        "goose=honk;wolf=howl;hen=cluck;dove=coo;bird=tweet;goat=maa"),
    "young": (
        "A young {k} is called {av}.",
        ("What is a young {k} called?", "What is a baby {k} called?", "What do you call a baby {k}?",
         "What do you call a young {k}?", "What is the name for a young {k}?", "Tell me the word for a baby {k}."),
        "cow=calf;dog=puppy;cat=kitten;sheep=lamb;duck=duckling;pig=piglet;horse=foal;hen=chick;lion=cub;bear=cub;"
        "goat=kid;goose=gosling;frog=tadpole;deer=fawn;kangaroo=joey;owl=owlet;eagle=eaglet;elephant=calf;"
        "whale=calf;fox=kit;rabbit=bunny;swan=cygnet;wolf=pup;seal=pup;tiger=cub;butterfly=caterpillar"),
    "home": (
        "{ak} lives in {v}.",
        ("Where does {ak} live?", "What is the home of {ak}?", "In what place does {ak} live?",
         "Tell me where {ak} lives.", "Where can you find {ak}?", "Where is the home of {ak}?"),
        "bee=a hive;bird=a nest;spider=a web;rabbit=a burrow;fish=the water;lion=the savanna;camel=the desert;"
        "monkey=the jungle;cow=a barn;horse=a stable;dog=a kennel;fox=a den;bear=a cave;ant=an anthill;frog=a pond;"
        "whale=the ocean;shark=the sea;penguin=the Antarctic;squirrel=a tree;pig=a sty;king=a castle;"
        "sailor=a ship;wolf=the forest;mole=a tunnel;goat=the mountains"),
    "legs": (
        "{ak} has {v} legs.",
        ("How many legs does {ak} have?", "What number of legs does {ak} have?", "Count the legs of {ak}.",
         "Tell me how many legs {ak} has.", "How many legs has {ak} got?", "On how many legs does {ak} walk?"),
        "spider=8;ant=6;bee=6;dog=4;cat=4;horse=4;cow=4;bird=2;duck=2;hen=2;fly=6;beetle=6;scorpion=8;lion=4;crab=10;"
        "sheep=4;penguin=2;snake=0;fish=0;frog=4;elephant=4;butterfly=6;person=2;worm=0;pig=4;mouse=4;lobster=10"),
    "food": (
        "{ak} eats {v}.",
        ("What does {ak} eat?", "What is the food of {ak}?", "Which food does {ak} like?", "Tell me what {ak} eats.",
         "What would you feed {ak}?", "What does {ak} like to eat?"),
        "cow=grass;rabbit=carrots;cat=fish;dog=meat;monkey=bananas;panda=bamboo;squirrel=nuts;bee=nectar;frog=flies;"
        "lion=meat;horse=hay;mouse=cheese;bear=honey;owl=mice;bird=seeds;hen=corn;sheep=grass;koala=leaves;"
        "seal=fish;spider=insects;giraffe=leaves;whale=plankton;caterpillar=leaves;penguin=fish;duck=bread"),
    "opposite": (
        "The opposite of {k} is {v}.",
        ("What is the opposite of {k}?", "What's the opposite of {k}?", "Name the opposite of {k}.",
         "Which word is the opposite of {k}?", "Tell me the opposite of {k}.", "Give me the opposite of {k}.",
         "Which word means the opposite of {k}?"),
        "hot=cold;cold=hot;big=small;small=big;up=down;down=up;left=right;happy=sad;sad=happy;fast=slow;slow=fast;"
        "day=night;night=day;old=young;new=old;good=bad;bad=good;open=closed;full=empty;empty=full;light=dark;"
        "dark=light;high=low;low=high;long=short;short=long;rich=poor;poor=rich;wet=dry;dry=wet;hard=soft;"
        "soft=hard;strong=weak;weak=strong;clean=dirty;dirty=clean;early=late;late=early;loud=quiet;quiet=loud;"
        "sweet=sour;thick=thin;thin=thick;wide=narrow;narrow=wide;deep=shallow;heavy=light;true=false;"
        "false=true;yes=no;no=yes;first=last;last=first;win=lose;lose=win;buy=sell;push=pull;start=stop;"
        "come=go;love=hate;war=peace;summer=winter;winter=summer;inside=outside;above=below;before=after;"
        "always=never;easy=difficult;near=far;far=near;cheap=expensive;brave=afraid;friend=enemy;north=south;"
        "south=north;east=west;west=east;awake=asleep;alive=dead;more=less;begin=end;give=take;laugh=cry"),
    "plural": (
        "The plural of {k} is {v}.",
        ("What is the plural of {k}?", "What's the plural of {k}?", "Give me the plural of {k}.",
         "Which word is the plural of {k}?", "Tell me the plural form of {k}.", "How do you write more than one {k}?",
         "One {k}, two what?"),
        "mouse=mice;child=children;foot=feet;tooth=teeth;man=men;woman=women;goose=geese;ox=oxen;sheep=sheep;"
        "fish=fish;deer=deer;person=people;leaf=leaves;knife=knives;wolf=wolves;life=lives;wife=wives;half=halves;"
        "shelf=shelves;thief=thieves;box=boxes;bus=buses;dish=dishes;fox=foxes;glass=glasses;watch=watches;"
        "baby=babies;city=cities;story=stories;lady=ladies;berry=berries;fly=flies;puppy=puppies;potato=potatoes;"
        "tomato=tomatoes;hero=heroes;cat=cats;dog=dogs;book=books;tree=trees;house=houses;car=cars;apple=apples;"
        "flower=flowers;star=stars;ship=ships;door=doors;hand=hands;king=kings;boy=boys;girl=girls;bird=birds"),
    "past": (
        "The past tense of {k} is {v}.",
        ("What is the past tense of {k}?", "What's the past tense of {k}?", "Give me the past tense of {k}.",
         "Tell me the past tense of {k}.", "Which word is the past tense of {k}?", "How do you say {k} in the past?",
         "Today I {k}. Yesterday I what?"),
        "go=went;see=saw;eat=ate;run=ran;take=took;give=gave;come=came;make=made;find=found;think=thought;"
        "bring=brought;buy=bought;catch=caught;teach=taught;write=wrote;speak=spoke;drink=drank;sing=sang;"
        "swim=swam;begin=began;fly=flew;grow=grew;know=knew;throw=threw;draw=drew;sleep=slept;keep=kept;feel=felt;"
        "leave=left;lose=lost;build=built;send=sent;sit=sat;stand=stood;win=won;break=broke;drive=drove;ride=rode;"
        "wear=wore;forget=forgot;hear=heard;say=said;tell=told;sell=sold;walk=walked;play=played;jump=jumped;"
        "help=helped;look=looked;open=opened;cook=cooked;dance=danced"),
    "colour": (
        "The colour of {k} is {v}.",
        ("What colour is {k}?", "What color is {k}?", "Which colour does {k} have?", "Tell me the colour of {k}.",
         "What is the color of {k}?", "Name the colour of {k}."),
        "the sky=blue;grass=green;snow=white;the sun=yellow;blood=red;coal=black;a banana=yellow;a lemon=yellow;"
        "an orange=orange;a carrot=orange;a tomato=red;a strawberry=red;a frog=green;a polar bear=white;"
        "an elephant=grey;chocolate=brown;milk=white;a cucumber=green;a flamingo=pink;a raven=black;the sea=blue;"
        "a cherry=red;a pumpkin=orange;salt=white;a leaf=green;mud=brown;a plum=purple;the night=black;ash=grey;"
        "a swan=white;an emerald=green;a ruby=red;gold=yellow;a bear=brown;a pig=pink;a pea=green"),
    "kind": (
        "{ak} is a kind of {v}.",
        ("What kind of thing is {ak}?", "What sort of thing is {ak}?", "Which group does {ak} belong to?",
         "Tell me what kind of thing {ak} is.", "What type of thing is {ak}?", "Of what kind is {ak}?"),
        "carrot=vegetable;potato=vegetable;onion=vegetable;cabbage=vegetable;pea=vegetable;apple=fruit;"
        "banana=fruit;pear=fruit;cherry=fruit;grape=fruit;lemon=fruit;rose=flower;tulip=flower;daisy=flower;"
        "lily=flower;oak=tree;pine=tree;birch=tree;maple=tree;hammer=tool;saw=tool;drill=tool;piano=instrument;"
        "violin=instrument;drum=instrument;flute=instrument;guitar=instrument;eagle=bird;sparrow=bird;owl=bird;"
        "penguin=bird;salmon=fish;shark=fish;trout=fish;ant=insect;bee=insect;beetle=insect;snake=reptile;"
        "lizard=reptile;crocodile=reptile;dog=mammal;cow=mammal;whale=mammal;horse=mammal;bus=vehicle;car=vehicle;"
        "truck=vehicle;bicycle=vehicle;shirt=clothing;coat=clothing;hat=clothing;chair=furniture;table=furniture;"
        "bed=furniture;sofa=furniture;football=game;chess=game;diamond=gem;ruby=gem;hurricane=storm"),
    "job": (
        "{av} {k}.",
        ("Who {k}?", "Which person {k}?", "What do you call someone who {k}?", "Tell me who {k}.", "Whose job is it: who {k}?",
         "Name the person who {k}."),
        "bakes bread=baker;teaches children=teacher;flies a plane=pilot;drives a bus=driver;grows crops=farmer;"
        "catches fish=fisherman;puts out fires=firefighter;writes books=author;paints pictures=painter;"
        "heals sick people=doctor;heals sick animals=vet;cuts hair=barber;cooks meals=cook;fixes pipes=plumber;"
        "builds houses=builder;sings songs=singer;brings letters=postman;sells meat=butcher;fixes teeth=dentist;"
        "makes clothes=tailor;works in space=astronaut;plays music=musician;writes programs=programmer;"
        "rules a kingdom=king;sails a ship=sailor;takes photos=photographer;serves food=waiter;"
        "studies the stars=astronomer;dances on a stage=dancer;digs for coal=miner;makes jokes=clown"),
    "tool": (
        "You use {v} to {k}.",
        ("What do you use to {k}?", "What do I need to {k}?", "Which thing do you use to {k}?", "What can I use to {k}?",
         "Tell me what you use to {k}.", "With what do people {k}?"),
        "cut paper=scissors;cut bread=a knife;eat soup=a spoon;write a letter=a pen;hit a nail=a hammer;"
        "open a lock=a key;sweep the floor=a broom;dig a hole=a shovel;cut wood=a saw;tell the time=a clock;"
        "take a photo=a camera;see the stars=a telescope;brush teeth=a toothbrush;stay dry in the rain=an umbrella;"
        "measure heat=a thermometer;find north=a compass;climb a wall=a ladder;light a candle=a match;"
        "sew a shirt=a needle;dry your hands=a towel;draw a picture=a pencil;call a friend=a phone;"
        "catch fish=a net;boil water=a kettle;bake a cake=an oven;paint a wall=a brush;carry water=a bucket"),
    "place": (
        "You {k} at {v}.",
        ("Where do you {k}?", "Where can I {k}?", "In which place do you {k}?", "Where do people {k}?",
         "Tell me where to {k}.", "What is a good place to {k}?"),
        "borrow books=a library;buy bread=a bakery;see a doctor=a hospital;learn to read=a school;catch a train=a station;"
        "catch a plane=an airport;watch a film=a cinema;see old paintings=a museum;see wild animals=a zoo;"
        "swim in summer=a beach;keep money=a bank;buy medicine=a pharmacy;eat out=a restaurant;sleep on a trip=a hotel;"
        "post a letter=a post office;see a play=a theatre;buy fruit=a market;grow wheat=a farm;pray=a church;"
        "study medicine=a university;play on swings=a playground;park a car=a garage;board a ship=a harbour"),
    "made": (
        "People make {k} from {v}.",
        ("What is {k} made from?", "What is {k} made of?", "What do you need to make {k}?", "From what is {k} made?",
         "Tell me what {k} is made from.", "Which material is {k} made of?"),
        "bread=flour;cheese=milk;butter=milk;wine=grapes;paper=wood;glass=sand;honey=nectar;a window=glass;"
        "a tyre=rubber;a coin=metal;a sweater=wool;jam=fruit;chocolate=cocoa;a candle=wax;a brick=clay;silk=silkworm thread;"
        "a shoe=leather;ice=water;a snowman=snow;an omelette=eggs;ketchup=tomatoes;raisins=grapes;a book=paper;"
        "steel=iron;a sandcastle=sand;flour=wheat;yogurt=milk;a nail=iron;cider=apples;a T-shirt=cotton"),
    "units": (
        "There are {v} {k}.",
        ("How many {there}?", "How many {k}?", "What is the number of {k}?", "Tell me how many {k}.",
         "Do you know how many {there}?", "Tell me the number of {k}."),
        "minutes in an hour=60;seconds in a minute=60;hours in a day=24;days in a week=7;months in a year=12;"
        "weeks in a year=52;days in a year=365;letters in the alphabet=26;sides in a triangle=3;sides in a square=4;"
        "sides in a pentagon=5;sides in a hexagon=6;sides in an octagon=8;years in a century=100;"
        "years in a decade=10;centimetres in a metre=100;metres in a kilometre=1000;grams in a kilogram=1000;"
        "eggs in a dozen=12;fingers on a hand=5;wheels on a bicycle=2;wheels on a car=4;wheels on a tricycle=3;"
        "players in a football team=11;colours in a rainbow=7;planets in the solar system=8;seasons in a year=4;"
        "strings on a violin=4;strings on a guitar=6;bits in a byte=8;cents in a dollar=100;days in June=30;"
        "days in January=31;continents on Earth=7;corners in a cube=8;faces on a cube=6;sides in a coin=2"),
    "after": (
        "After {k} comes {v}.",
        ("What comes after {k}?", "What comes right after {k}?", "What comes next after {k}?", "Which one follows {k}?",
         "Tell me what comes after {k}.", "What follows {k}?"),
        "Monday=Tuesday;Tuesday=Wednesday;Wednesday=Thursday;Thursday=Friday;Friday=Saturday;Saturday=Sunday;"
        "Sunday=Monday;January=February;February=March;March=April;April=May;May=June;June=July;July=August;"
        "August=September;September=October;October=November;November=December;December=January;spring=summer;"
        "summer=autumn;autumn=winter;winter=spring;the letter A=B;the letter B=C;the letter C=D;the letter D=E;"
        "the letter E=F;the letter F=G;the letter G=H;the letter H=I;the letter M=N;the letter X=Y;the letter Y=Z"),
    "before": (
        "Before {k} comes {v}.",
        ("What comes before {k}?", "What comes right before {k}?", "Which one is just before {k}?",
         "Tell me what comes before {k}.", "What do we have before {k}?"),
        "Tuesday=Monday;Wednesday=Tuesday;Thursday=Wednesday;Friday=Thursday;Saturday=Friday;Sunday=Saturday;"
        "Monday=Sunday;February=January;March=February;April=March;May=April;June=May;July=June;August=July;"
        "September=August;October=September;November=October;December=November;summer=spring;autumn=summer;"
        "winter=autumn;spring=winter;the letter B=A;the letter C=B;the letter D=C;the letter Z=Y"),
    "french": (
        "In French, {k} is {v}.",
        ("How do you say {k} in French?", "What is {k} in French?", "Translate {k} into French.",
         "What is the French word for {k}?", "Tell me the French word for {k}.", "Say {k} in French."),
        "hello=bonjour;thank you=merci;yes=oui;no=non;cat=chat;dog=chien;house=maison;water=eau;bread=pain;milk=lait;"
        "book=livre;sun=soleil;moon=lune;red=rouge;green=vert;white=blanc;black=noir;one=un;two=deux;three=trois;"
        "friend=ami;night=nuit;day=jour;apple=pomme;cheese=fromage;goodbye=au revoir"),
    "spanish": (
        "In Spanish, {k} is {v}.",
        ("How do you say {k} in Spanish?", "What is {k} in Spanish?", "Translate {k} into Spanish.",
         "What is the Spanish word for {k}?", "Tell me the Spanish word for {k}.", "Say {k} in Spanish."),
        "hello=hola;thank you=gracias;yes=si;no=no;cat=gato;dog=perro;house=casa;water=agua;bread=pan;milk=leche;"
        "book=libro;sun=sol;moon=luna;red=rojo;green=verde;white=blanco;black=negro;one=uno;two=dos;three=tres;"
        "friend=amigo;night=noche;day=dia;apple=manzana;cheese=queso;goodbye=adios"),
    "meaning": (
        "{ak} is {v}.",
        ("What is {ak}?", "What does the word {k} mean?", "Can you explain what {ak} is?", "Define the word {k}.",
         "Tell me what {ak} is.", "Explain the word {k}.", "What do we call {ak}?"),
        "volcano=a mountain that throws out hot lava;river=a long stream of flowing water;desert=a dry land with little rain;"
        "island=land with water all around it;forest=a large area full of trees;library=a place full of books;"
        "castle=a big strong house for a king;bridge=a road that crosses water;clock=a machine that shows the time;"
        "map=a drawing that shows where places are;ship=a very large boat;pirate=a robber who sails the sea;"
        "robot=a machine that can do work;computer=a machine that runs programs;program=a list of steps for a computer;"
        "keyboard=a board with keys for typing;dictionary=a book that explains words;poem=a text with rhythm and feeling;"
        "planet=a large ball that moves around a star;star=a huge ball of burning gas;comet=a ball of ice that flies through space;"
        "telescope=a tube that makes far things look near;mirror=a glass that shows your face;umbrella=a roof you carry in the rain;"
        "kitchen=a room where people cook;garden=a place where plants grow;orchard=a garden of fruit trees;"
        "family=a group of parents and children;friend=a person you like and trust;secret=something you do not tell others;"
        "language model=a program that predicts the next word;adapter=a small set of weights added to a model;"
        "tokenizer=a program that cuts text into pieces;dataset=a collection of examples;lullaby=a soft song for sleeping;"
        "glacier=a slow river of ice;cave=a hole in a mountain;lighthouse=a tower that guides ships;"
        "treasure=a hidden pile of gold and jewels;dragon=a monster that breathes fire;ghost=a spirit that haunts a house"),
    "trivia": (
        "{v}.",
        ("{k}?", "Please answer: {k}?", "Do you know this: {k}?", "Here is a question: {k}?", "Can you tell me: {k}?"),
        "what planet do we live on=We live on Earth;what is the largest planet=The largest planet is Jupiter;"
        "what is the largest animal=The largest animal is the blue whale;what is the tallest animal=The tallest animal is the giraffe;"
        "what is the fastest land animal=The fastest land animal is the cheetah;what do bees make=Bees make honey;"
        "what do plants need to grow=Plants need light and water;what falls from the sky in winter=In winter snow falls;"
        "what do we breathe=We breathe air;what do hens lay=Hens lay eggs;where does the sun rise=The sun rises in the east;"
        "where does the sun set=The sun sets in the west;what gives us light by day=The sun gives us light;"
        "what shines at night=The moon shines at night;what is frozen water called=Frozen water is called ice;"
        "what is the largest ocean=The largest ocean is the Pacific;what is the longest river=The longest river is the Nile;"
        "what is the highest mountain=The highest mountain is Everest;what is the hottest season=The hottest season is summer;"
        "what is the coldest season=The coldest season is winter;what do cows give us=Cows give us milk;"
        "what do sheep give us=Sheep give us wool;what is the king of animals=The king of animals is the lion;"
        "what pumps blood in the body=The heart pumps blood;what do we hear with=We hear with our ears;"
        "what do we see with=We see with our eyes;what do we smell with=We smell with our nose;"
        "what do we think with=We think with our brain;which metal is a magnet good for=A magnet is good for iron;"
        "which gas do plants make=Plants make oxygen;which star is nearest to us=The nearest star is the sun;"
        "what do you get from red and yellow=Red and yellow make orange;what do you get from blue and yellow=Blue and yellow make green;"
        "what do you get from red and white=Red and white make pink;what do you get from black and white=Black and white make grey"),
    "talk": (
        "{v}",
        ("{k}",),
        "Hello!=Hello! How can I help you?;Hi!=Hi! How can I help you?;Hi there!=Hi! What would you like to know?;"
        "Hello there!=Hello! What would you like to know?;Hey!=Hello! How can I help you?;Good morning!=Good morning! How can I help you?;"
        "Good evening!=Good evening! How can I help you?;Good afternoon!=Good afternoon! What can I do for you?;"
        "How are you?=I am fine, thank you. How are you?;How do you do?=I am fine, thank you.;"
        "How is it going?=It is going well, thank you.;"
        "Thank you!=You are welcome!;Thanks!=You are welcome!;Thanks a lot!=You are very welcome!;Goodbye!=Goodbye! Have a nice day.;"
        "Bye!=Bye! See you soon.;Good night!=Good night! Sleep well.;See you later!=See you later! Take care.;"
        "Who are you?=I am FineTUI Mini, a very small language model.;What are you?=I am a very small language model.;"
        "What is your name?=My name is FineTUI Mini.;What can you do?=I can answer simple questions and tell short stories.;"
        "Can you help me?=Yes, I can help you with simple questions.;Are you a robot?=I am a computer program, not a robot.;"
        "Are you a human?=No, I am a computer program.;How old are you?=I am brand new.;Who made you?=I was made by the FineTUI project.;"
        "Where do you live?=I live in a computer.;Do you like music?=Yes, music is wonderful.;Do you like cats?=Yes, cats are lovely.;"
        "Tell me a joke.=Why did the chicken cross the road? To get to the other side.;"
        "I am sad.=I am sorry to hear that. I hope you feel better soon.;"
        "I am happy.=That is great to hear!;I am tired.=You should get some rest.;I am hungry.=You should eat something good.;"
        "What is your favourite colour?=My favourite colour is blue.;What is your favorite food?=I do not eat, but honey sounds good.;"
        "Sorry!=No problem at all.;Nice to meet you!=It is nice to meet you too.;Good job!=Thank you very much!"),
}

PLAIN_SYSTEM = ("You are a helpful assistant.", "Answer simply.", "You are FineTUI Mini.", "Be kind and clear.")
OPENINGS = ("Please tell me: ", "Quick question: ", "I have a question. ", "Hello! ", "Tell me, ", "Hey, ", "So, ", "Now: ")
UNKNOWN = "I am sorry, I do not know that."
UNKNOWN_PROMPTS = (
    "Write a program in Python.", "Who won the match last night?", "What will the weather be tomorrow?",
    "Explain quantum physics.", "What is the price of gold today?", "Write an essay about history.", "What time is it?",
    "Solve this equation for me.", "Which stock should I buy?", "Who is the president?", "Summarise the news.",
)
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jack", "Kate", "Leo", "Mia", "Nora",
         "Oscar", "Paul", "Rosa", "Sam", "Tina", "Victor", "Wendy", "Max", "Lucy", "Tom")
HEROES = ("cat", "dog", "fox", "mouse", "rabbit", "bear", "frog", "bird", "duck", "dragon", "pirate", "king", "girl",
          "boy", "robot", "sailor", "farmer", "horse", "wolf", "owl", "knight", "baker")
TRAITS = ("small", "brave", "lazy", "clever", "happy", "shy", "curious", "kind", "hungry", "old")
PLACES = ("in a quiet forest", "by the sea", "on a green hill", "in a big city", "near a river", "in an old castle",
          "on a tiny island", "at the edge of a village", "under a tall tree", "on a wooden ship")
WISHES = ("wanted to find a golden key", "wished to see the stars", "looked for a lost friend", "dreamed of a warm cake",
          "wanted to learn a song", "hoped to find a treasure", "wanted to cross the river", "wished for a red balloon")
TROUBLES = ("But the way was long and dark.", "But a storm came and the wind was loud.", "But nobody knew the way.",
            "But the old gate was closed.", "But it was too high to reach.", "But the map was torn in two.")
HELPERS = ("a wise owl", "a friendly giant", "an old woman", "a little bee", "a singing bird", "a brave girl",
           "a sleepy bear", "a tall sailor")
HELPS = ("showed the right path", "shared some bread", "lent a strong rope", "told a useful secret", "lit a bright lamp")
ENDINGS = ("In the end everyone danced and laughed.", "They became good friends.", "After that, life was never dull again.",
           "That night they slept well and dreamed of the sea.", "And so the day ended with a song.")
